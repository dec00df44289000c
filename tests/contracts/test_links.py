"""What every store of links to the console promises."""

import asyncio
from datetime import timedelta

from domain.keys import NewKey, Scope
from domain.links import Link
from domain.work import RequestContext, UnitsOfWork


async def keep(units: UnitsOfWork, context: RequestContext, digest: bytes, *, minutes: int = 30) -> Link:
    async with units.writing(context) as work:
        key = await work.keys.add(NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,)))
        link = Link(digest, key.id, work.now + timedelta(minutes=minutes))
        await work.links.add(link)
        await work.commit(None)
    return link


async def found(units: UnitsOfWork, digest: bytes) -> Link | None:
    async with units.reading() as work:
        return await work.links.find(digest)


async def take(units: UnitsOfWork, context: RequestContext, digest: bytes) -> Link | None:
    async with units.writing(context) as work:
        link = await work.links.take(digest)
        await work.commit(None)
    return link


async def test_a_link_is_found_until_it_is_taken(units: UnitsOfWork, context: RequestContext) -> None:
    link = await keep(units, context, b"a" * 32)
    assert await found(units, b"a" * 32) == link
    assert await found(units, b"b" * 32) is None
    assert await take(units, context, b"a" * 32) == link
    assert await found(units, b"a" * 32) is None


async def test_a_link_can_be_for_a_directory_without_keys(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        link = Link(b"n" * 32, None, work.now)
        await work.links.add(link)
        await work.commit(None)
    assert await found(units, b"n" * 32) == link


async def test_of_many_callers_that_take_a_link_at_once_one_gets_it(
    units: UnitsOfWork, context: RequestContext
) -> None:
    link = await keep(units, context, b"a" * 32)
    took = await asyncio.gather(*(take(units, context, b"a" * 32) for _ in range(20)))
    assert sorted(map(str, took)) == sorted([str(link), *["None"] * 19])


async def test_a_unit_without_a_commit_neither_stores_nor_takes_a_link(
    units: UnitsOfWork, context: RequestContext
) -> None:
    link = await keep(units, context, b"a" * 32)
    async with units.writing(context) as work:
        await work.links.take(b"a" * 32)
        await work.links.add(Link(b"b" * 32, None, work.now + timedelta(minutes=1)))
    assert await found(units, b"a" * 32) == link
    assert await found(units, b"b" * 32) is None


async def test_adding_a_link_removes_expired_links(units: UnitsOfWork, context: RequestContext) -> None:
    await keep(units, context, b"a" * 32, minutes=0)
    lasting = await keep(units, context, b"b" * 32)
    assert await found(units, b"a" * 32) is None
    assert await found(units, b"b" * 32) == lasting

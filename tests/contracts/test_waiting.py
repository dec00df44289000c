"""What every directory promises to readers that wait for changes. A bound ends a wait that has no end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from domain.changes import FIELDS, Change
from domain.errors import Busy
from domain.limits import Limits
from domain.lists.terms import parse_filter
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork
from services.changes import ChangeService
from services.users import UserService

if TYPE_CHECKING:
    from repositories.work.feed import Feed

LONG_S: Final = 1000
"""Longer than the bound of every test."""


@pytest.fixture(autouse=True)
async def bound() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


FEW: Final = Limits(waits=3, waits_per_key=2, snapshots=3, snapshots_per_key=2)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def crowded(request: pytest.FixtureRequest) -> UnitsOfWork:
    """A directory with few places."""
    if request.param == "memory":
        return MemoryUnitsOfWork(limits=FEW)
    return SqlUnitsOfWork(request.getfixturevalue(request.param), limits=FEW)


@pytest.fixture
def changes(units: UnitsOfWork, context: RequestContext) -> ChangeService:
    return ChangeService(units, context)


async def test_a_reader_that_has_not_seen_the_last_change_does_not_wait(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    assert 0 < await units.changed(0, LONG_S, context) <= LONG_S


async def test_a_wait_ends_with_the_next_commit(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    async with units.reading() as work:
        seen = await work.changes.last()
    waits = asyncio.ensure_future(units.changed(seen, LONG_S, context))
    async with units.writing(context) as writing:
        await writing.users.add(NewUser(name="Bob"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waits.done()
        await writing.commit(None)
    assert 0 < await waits <= LONG_S


async def test_a_wait_ends_without_a_change_when_its_time_is_over(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    assert await units.changed(2**53 - 1, 0.01, context) == 0
    assert await units.changed(2**53 - 1, 0, context) == 0


async def test_release_ends_all_waits_and_later_readers_do_not_wait(
    units: UnitsOfWork, context: RequestContext
) -> None:
    waits = [asyncio.ensure_future(units.changed(0, LONG_S, context)) for _ in range(3)]
    await asyncio.sleep(0)
    units.release()
    assert await asyncio.gather(*waits) == [0, 0, 0]
    assert await units.changed(0, LONG_S, context) == 0


async def test_a_released_feed_returns_no_changes(units: UnitsOfWork, changes: ChangeService) -> None:
    waits = asyncio.create_task(changes.wait(since=0, limit=10, within_s=LONG_S))
    await asyncio.sleep(0)
    units.release()
    assert (await waits).changes == []


async def test_a_cancelled_wait_does_not_disturb_others(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    one, other = (asyncio.ensure_future(units.changed(0, LONG_S, context)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await users.create(NewUser(name="Alice"))
    assert await other > 0
    assert await units.changed(0, LONG_S, context) > 0


async def test_a_wait_with_a_filter_skips_other_changes(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    deletions = parse_filter('action eq "deleted"', FIELDS)
    waits = asyncio.create_task(changes.wait(filter=deletions, since=0, limit=10, within_s=LONG_S))
    await users.create(NewUser(name="Bob"))
    await users.patch(alice.id, {"name": "Alicia"})
    assert not waits.done()
    await users.delete(alice.id)
    page = await waits
    assert [(change.entity_id, change.action) for change in page.changes] == [(alice.id, "deleted")]
    assert page.end == page.changes[-1].seq


async def test_a_wait_with_a_filter_is_not_woken_by_other_changes(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    deletions = parse_filter('action eq "deleted"', FIELDS)
    anything = asyncio.ensure_future(units.changed(1, LONG_S, context))
    deletion = asyncio.ensure_future(units.changed(1, LONG_S, context, deletions))
    await asyncio.sleep(0)
    await users.patch(alice.id, {"name": "Alicia"})
    await anything
    for _ in range(20):
        await asyncio.sleep(0)
    assert not deletion.done()
    await users.delete(alice.id)
    assert await deletion > 0


async def test_a_later_reader_that_has_seen_less_does_not_wait(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    first = asyncio.ensure_future(units.changed(1, LONG_S, context))
    await asyncio.sleep(0)
    assert await units.changed(0, LONG_S, context) > 0
    assert not first.done()
    first.cancel()


async def test_waiting_readers_are_bounded_in_all_and_for_each_key(
    crowded: UnitsOfWork, context: RequestContext
) -> None:
    other, third = (replace(context, actor=actor) for actor in ("other", "third"))
    waits = [asyncio.ensure_future(crowded.changed(0, LONG_S, who)) for who in (context, context, other)]
    await asyncio.sleep(0)
    for refused in (context, third):
        with pytest.raises(Busy, match="wait for changes"):
            await crowded.changed(0, LONG_S, refused)
    waits[0].cancel()
    await asyncio.sleep(0)
    waits.append(asyncio.ensure_future(crowded.changed(0, LONG_S, third)))
    crowded.release()
    assert await asyncio.gather(*waits[1:]) == [0, 0, 0]


async def test_open_snapshots_are_bounded_in_all_and_for_each_key(
    crowded: UnitsOfWork, context: RequestContext
) -> None:
    other, third = (replace(context, actor=actor) for actor in ("other", "third"))
    async with AsyncExitStack() as held:
        first = await held.enter_async_context(AsyncExitStack())
        await first.enter_async_context(crowded.snapshot(context))
        await held.enter_async_context(crowded.snapshot(context))
        await held.enter_async_context(crowded.snapshot(other))
        for refused in (context, third):
            with pytest.raises(Busy, match="streams"):
                await held.enter_async_context(crowded.snapshot(refused))
        await first.aclose()
        await held.enter_async_context(crowded.snapshot(third))


async def test_a_feed_that_failed_to_read_continues_when_the_database_answers_again(
    units: UnitsOfWork, users: UserService, context: RequestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed: Feed = units._feed  # type: ignore[attr-defined]
    read, failures = feed._read, asyncio.Queue[None]()

    async def fail(seq: int) -> Sequence[Change]:
        failures.put_nowait(None)
        raise OSError("the database is out of reach")

    monkeypatch.setattr(feed, "_read", fail)
    monkeypatch.setattr("repositories.work.feed.LOOK_EVERY_S", 0.001)
    waits = asyncio.ensure_future(units.changed(0, LONG_S, context))
    for _ in range(3):
        await failures.get()
    monkeypatch.setattr(feed, "_read", read)
    await users.create(NewUser(name="Alice"))
    assert await waits > 0

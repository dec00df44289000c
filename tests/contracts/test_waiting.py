"""What every directory promises to whoever waits for changes. Whoever waits here without end fails by a bound."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from domain.changes import FIELDS
from domain.grammar import parse_filter
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from services.changes import ChangeService
from services.users import UserService

LONG_S: Final = 1000
"""Longer than the bound of every test."""


@pytest.fixture(autouse=True)
async def bound() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


@pytest.fixture
def changes(units: UnitsOfWork, context: RequestContext) -> ChangeService:
    return ChangeService(units, context)


async def test_who_has_not_seen_the_last_change_does_not_wait(units: UnitsOfWork, users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    assert 0 < await units.changed(0, LONG_S) <= LONG_S


async def test_a_wait_ends_with_the_next_commit(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    async with units.reading() as work:
        seen = await work.changes.last()
    waits = asyncio.ensure_future(units.changed(seen, LONG_S))
    async with units.writing(context) as writing:
        await writing.users.add(NewUser(name="Bob"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waits.done()
        await writing.commit(None)
    assert 0 < await waits <= LONG_S


async def test_a_wait_ends_without_news_when_its_time_is_over(units: UnitsOfWork, users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    assert await units.changed(2**53 - 1, 0.01) == 0
    assert await units.changed(2**53 - 1, 0) == 0


async def test_who_waits_is_let_go_and_who_comes_later_does_not_wait(units: UnitsOfWork) -> None:
    waits = [asyncio.ensure_future(units.changed(0, LONG_S)) for _ in range(3)]
    await asyncio.sleep(0)
    units.release()
    assert await asyncio.gather(*waits) == [0, 0, 0]
    assert await units.changed(0, LONG_S) == 0


async def test_a_feed_that_was_let_go_answers_with_nothing(units: UnitsOfWork, changes: ChangeService) -> None:
    waits = asyncio.create_task(changes.wait(since=0, limit=10, within_s=LONG_S))
    await asyncio.sleep(0)
    units.release()
    assert (await waits).changes == []


async def test_a_wait_that_is_cancelled_disturbs_no_other(units: UnitsOfWork, users: UserService) -> None:
    one, other = (asyncio.ensure_future(units.changed(0, LONG_S)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await users.create(NewUser(name="Alice"))
    assert await other > 0
    assert await units.changed(0, LONG_S) > 0


async def test_a_wait_for_what_a_filter_lets_through_passes_over_the_rest(
    users: UserService, changes: ChangeService
) -> None:
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

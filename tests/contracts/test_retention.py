"""What every record of changes promises about old changes, and what readers get who come too late."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from domain.delivery.deliveries import Delivery
from domain.delivery.webhooks import NewWebhook, Progress
from domain.errors import NotFound, PositionExpired
from domain.users import NewUser, User
from domain.work import ReadingUnit, RequestContext, UnitsOfWork
from services.changes import ChangeService
from services.delivery.webhooks import WebhookService
from services.retention import GRACE, Retention
from services.users import UserService

DAY: Final = timedelta(days=1)
FUTURE: Final = datetime(2999, 1, 1, tzinfo=UTC)


async def trim(units: UnitsOfWork, context: RequestContext, *, before: datetime, up_to: int, limit: int = 100) -> int:
    async with units.writing(context) as work:
        removed = await work.changes.trim(before=before, up_to=up_to, limit=limit)
        await work.commit(None)
    return removed


async def first_position(work: ReadingUnit) -> int:
    """The lowest number from which the feed can be followed."""
    return min([number for number in range(9) if not await work.changes.has_expired(number)])


async def kept(units: UnitsOfWork) -> tuple[list[int], int, int]:
    async with units.reading() as work:
        seqs = [change.seq for change in await work.changes.list(limit=100)]
        return seqs, await first_position(work), await work.changes.last()


async def test_the_oldest_changes_are_removed_and_their_numbers_are_not_used_again(
    units: UnitsOfWork, context: RequestContext, users: UserService
) -> None:
    for _ in range(5):
        await users.create(NewUser(name="Alice"))
    assert await kept(units) == ([1, 2, 3, 4, 5], 0, 5)
    assert await trim(units, context, before=datetime(2000, 1, 1, tzinfo=UTC), up_to=4) == 0
    assert await trim(units, context, before=FUTURE, up_to=4, limit=2) == 2
    assert await kept(units) == ([3, 4, 5], 2, 5)
    assert await trim(units, context, before=FUTURE, up_to=4) == 2
    assert await trim(units, context, before=FUTURE, up_to=4) == 0
    assert await kept(units) == ([5], 4, 5)
    await users.create(NewUser(name="Bob"))
    assert await kept(units) == ([5, 6], 4, 6)


async def test_a_reader_that_is_too_late_gets_the_position_to_begin_at(
    units: UnitsOfWork, context: RequestContext, users: UserService
) -> None:
    for _ in range(4):
        await users.create(NewUser(name="Alice"))
    await trim(units, context, before=FUTURE, up_to=2)
    changes = ChangeService(units, context)
    for since in (0, 1):
        with pytest.raises(PositionExpired) as refused:
            await changes.list(since=since, limit=9)
        assert refused.value.last == 4
    assert [each.seq for each in (await changes.list(since=2, limit=9)).changes] == [3, 4]


async def test_the_history_of_a_user_has_the_changes_that_are_kept(
    units: UnitsOfWork, context: RequestContext, users: UserService
) -> None:
    for _ in range(3):
        await users.create(NewUser(name="Alice"))
    await users.patch(2, {"name": "Bob"})
    await trim(units, context, before=FUTURE, up_to=3)
    changes = ChangeService(units, context)
    assert list((await changes.list_about(User, 1, since=0, limit=9)).changes) == []
    assert [each.seq for each in (await changes.list_about(User, 2, since=0, limit=9)).changes] == [4]
    with pytest.raises(NotFound):
        await changes.list_about(User, 9, since=0, limit=9)


async def test_needed_from_is_the_lowest_position_of_the_active_webhooks(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async def needed() -> int | None:
        async with units.reading() as work:
            return await work.deliveries.needed_from()

    webhooks = WebhookService(units, bytes, False, context)
    assert await needed() is None
    for _ in range(3):
        await webhooks.create(NewWebhook(url="https://example.org/"))
    async with units.writing(context) as work:
        await work.webhooks.note_progress([Progress(1, 7), Progress(2, 5), Progress(3, 2)])
        await work.commit(None)
    await webhooks.pause(3)
    assert await needed() == 6
    waiting = Delivery(
        webhook_id=1, change=4, kind="user", entity_id=1, action="created", changed_at=FUTURE, next_at=FUTURE
    )
    async with units.writing(context) as work:
        await work.deliveries.put(
            [waiting, replace(waiting, change=3, next_at=None), replace(waiting, webhook_id=3, change=1)]
        )
        await work.commit(None)
    assert await needed() == 4


async def test_changes_are_removed_after_their_time_and_the_last_one_is_always_kept(
    units: UnitsOfWork, context: RequestContext, users: UserService
) -> None:
    for _ in range(4):
        await users.create(NewUser(name="Alice"))
    retention = Retention(units)
    assert await retention.trim(DAY) == 0
    assert await retention.trim(-DAY) == 3
    assert await kept(units) == ([4], 3, 4)


async def test_changes_that_a_webhook_has_not_delivered_are_kept_longer(
    units: UnitsOfWork, context: RequestContext, users: UserService
) -> None:
    for _ in range(4):
        await users.create(NewUser(name="Alice"))
    await WebhookService(units, bytes, False, context).create(NewWebhook(url="https://example.org/"), since=2)
    retention = Retention(units)
    assert await retention.trim(-DAY) == 2
    assert await kept(units) == ([3, 4, 5], 2, 5)
    assert await retention.trim(-DAY - GRACE) == 2
    assert await kept(units) == ([5], 4, 5)

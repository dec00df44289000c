"""Which old changes are removed, and which are kept for a webhook."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from domain.delivery.webhooks import NewWebhook
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services import retention
from services.changes import ChangeService
from services.delivery.webhooks import WebhookService
from services.retention import GRACE, Retention
from services.users import UserService

if TYPE_CHECKING:
    from tests.conftest import MovedTime

DAY: Final = timedelta(days=1)
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def units(time: "MovedTime") -> MemoryUnitsOfWork:
    return MemoryUnitsOfWork(time.clock)


async def a_change_a_day(users: UserService, time: "MovedTime", days: int) -> None:
    """Changes 1, 2, 3, … on the days 0, 1, 2, …. The clock shows the day of the last one."""
    for day in range(days):
        time.now = START + day * DAY
        await users.create(NewUser(name=f"User {day}"))


async def kept(changes: ChangeService, *, since: int) -> list[int]:
    return [change.seq for change in (await changes.list(since=since, limit=100)).changes]


async def test_changes_older_than_the_time_are_removed_and_counted(
    units: MemoryUnitsOfWork, users: UserService, changes: ChangeService, time: "MovedTime"
) -> None:
    await a_change_a_day(users, time, 6)
    assert await Retention(units).trim(3 * DAY) == 2
    assert await kept(changes, since=2) == [3, 4, 5, 6]
    assert await Retention(units).trim(3 * DAY) == 0


async def test_the_last_change_is_always_kept(
    units: MemoryUnitsOfWork, users: UserService, changes: ChangeService, time: "MovedTime"
) -> None:
    await a_change_a_day(users, time, 3)
    time.now += 3 * GRACE
    assert await Retention(units).trim(DAY) == 2
    assert await kept(changes, since=2) == [3]


async def test_changes_that_a_webhook_has_not_delivered_are_kept_longer(
    units: MemoryUnitsOfWork, users: UserService, changes: ChangeService, time: "MovedTime", context: RequestContext
) -> None:
    await a_change_a_day(users, time, 6)
    await WebhookService(units, bytes, False, context).create(NewWebhook(url="https://example.org/"), since=3)
    time.now += GRACE - DAY
    assert await Retention(units).trim(DAY) == 3
    assert await kept(changes, since=3) == [4, 5, 6, 7]

    time.now = START + 4 * DAY + DAY + GRACE
    assert await Retention(units).trim(DAY) == 1
    assert await kept(changes, since=4) == [5, 6, 7]


async def test_a_webhook_that_has_delivered_everything_keeps_no_changes(
    units: MemoryUnitsOfWork, users: UserService, changes: ChangeService, time: "MovedTime", context: RequestContext
) -> None:
    await a_change_a_day(users, time, 3)
    await WebhookService(units, bytes, False, context).create(NewWebhook(url="https://example.org/"))
    time.now += 2 * DAY
    assert await Retention(units).trim(DAY) == 3
    assert await kept(changes, since=3) == [4]


async def test_one_transaction_removes_no_more_than_its_bound(
    units: MemoryUnitsOfWork,
    users: UserService,
    changes: ChangeService,
    time: "MovedTime",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 4)
    await a_change_a_day(users, time, 10)
    time.now = START + 2 * DAY + timedelta(hours=1) + DAY + GRACE
    assert await Retention(units).trim(DAY) == 4
    assert await Retention(units).trim(DAY) == 4
    assert await Retention(units).trim(DAY) == 1
    assert await kept(changes, since=9) == [10]

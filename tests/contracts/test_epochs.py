"""After a restore no number is used twice, and readers who saw changes that are lost get a refusal."""

from datetime import UTC, datetime

import pytest

from domain.epochs import MARGIN, start_of_epoch
from domain.errors import PositionExpired
from domain.users import NewUser, User
from domain.work import RequestContext, UnitsOfWork
from services.changes import ChangeService
from services.users import UserService


@pytest.fixture
def changes(units: UnitsOfWork, context: RequestContext) -> ChangeService:
    return ChangeService(units, context)


async def test_ids_and_changes_continue_beyond_all_numbers_of_the_epoch_before(
    units: UnitsOfWork, users: UserService, changes: ChangeService
) -> None:
    before = (await users.create(NewUser(name="before"))).result

    start = await units.begin_epoch()
    after = await users.create(NewUser(name="after"))

    assert start > 200_000_000_000  # the milliseconds since 2020
    assert after.result.id > start
    assert after.seq is not None
    assert after.seq > start
    assert [each.seq for each in (await changes.list(since=1, limit=9)).changes] == [after.seq]
    assert await users.get(before.id) == before


async def test_an_epoch_begins_beyond_a_known_number(units: UnitsOfWork, users: UserService) -> None:
    known = 10**12

    assert await units.begin_epoch(beyond=known) == known + MARGIN
    assert (await users.create(NewUser(name="Alice"))).result.id > known + MARGIN
    assert await units.begin_epoch() > known + 2 * MARGIN


async def test_a_reader_ahead_of_a_restored_record_gets_position_expired(
    units: UnitsOfWork, users: UserService, changes: ChangeService
) -> None:
    for name in ("Alice", "Bob"):
        last = await users.create(NewUser(name=name))
    assert last.seq is not None
    start = await units.begin_epoch()

    assert (await changes.list(since=last.seq, limit=9)).changes == []
    for position in (last.seq + 1, start - 1, start):
        with pytest.raises(PositionExpired) as refusal:
            await changes.list(since=position, limit=9)
        assert refusal.value.last == last.seq
        with pytest.raises(PositionExpired):
            await changes.list_about(User, last.result.id, since=position, limit=9)
    new = await users.create(NewUser(name="Carol"))
    assert [each.seq for each in (await changes.list(since=last.seq, limit=9)).changes] == [new.seq]
    assert new.seq is not None
    assert (await changes.list(since=new.seq, limit=9)).changes == []


async def test_a_position_between_two_epochs_is_expired(
    units: UnitsOfWork, users: UserService, changes: ChangeService
) -> None:
    first = await units.begin_epoch()
    between = await users.create(NewUser(name="between"))
    second = await units.begin_epoch()
    third = await units.begin_epoch()

    assert first < (between.seq or 0) < second < third
    for position in (1, first, (between.seq or 0) + 1, second, second + 1, third):
        with pytest.raises(PositionExpired):
            await changes.list(since=position, limit=9)
    for position in (0, between.seq or 0):
        await changes.list(since=position, limit=9)


def test_an_epoch_starts_beyond_the_known_numbers_even_if_the_clock_is_wrong() -> None:
    wrong, right = datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)

    assert start_of_epoch(7, wrong) == 7 + MARGIN
    assert start_of_epoch(7, right) == 189_388_800_000
    assert start_of_epoch(189_388_800_000, right) == 189_388_800_000 + MARGIN

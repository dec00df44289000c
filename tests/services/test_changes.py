"""What readers can do with the record of changes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from domain.changes import FIELDS, Action, Change
from domain.errors import Malformed, NotFound, PositionExpired
from domain.groups import Group, NewGroup
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from repositories.stores import MemoryReadStores
from services.changes import ChangeService
from services.groups import GroupService
from services.users import UserService


async def test_changes_are_listed_in_order(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    bob = (await users.create(NewUser(name="Bob"))).result
    await users.patch(alice.id, {"name": "Alicia"})
    await users.delete(bob.id)
    found = (await changes.list(since=0, limit=10)).changes
    assert [(change.entity_id, change.action) for change in found] == [
        (alice.id, Action.CREATED),
        (bob.id, Action.CREATED),
        (alice.id, Action.UPDATED),
        (bob.id, Action.DELETED),
    ]


async def test_a_list_continues_after_the_last_number_seen(users: UserService, changes: ChangeService) -> None:
    for number in range(3):
        await users.create(NewUser(name=f"User {number}"))
    [first] = (await changes.list(since=0, limit=1)).changes
    rest = (await changes.list(since=first.seq, limit=10)).changes
    assert [change.entity_id for change in rest] == [2, 3]
    assert (await changes.list(since=rest[-1].seq, limit=10)).changes == []


async def test_the_history_of_one_user_has_its_changes(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.create(NewUser(name="Bob"))
    await users.patch(alice.id, {"name": "Alicia"})
    found = (await changes.list_about(User, alice.id, since=0, limit=10)).changes
    assert [(change.version, change.after) for change in found[1:]] == [(2, {"name": "Alicia"})]
    assert {change.entity_id for change in found} == {alice.id}


async def test_a_deleted_user_has_a_history(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.delete(alice.id)
    assert [change.action for change in (await changes.list_about(User, alice.id, since=0, limit=10)).changes] == [
        Action.CREATED,
        Action.DELETED,
    ]


async def test_a_history_that_was_read_to_its_end_is_empty_and_not_a_404(
    users: UserService, changes: ChangeService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    [change] = (await changes.list_about(User, alice.id, since=0, limit=10)).changes
    assert (await changes.list_about(User, alice.id, since=change.seq, limit=10)).changes == []


@pytest.mark.parametrize("id", [0, -1, 1, 2**53, 2**63, 2**70])
async def test_the_history_of_an_unknown_user_is_not_found(changes: ChangeService, id: int) -> None:
    with pytest.raises(NotFound):
        await changes.list_about(User, id, since=0, limit=10)


OF_BOB = parse_filter("entity_id eq 2", FIELDS)


async def create_users(users: UserService, number: int) -> None:
    for each in range(number):
        await users.create(NewUser(name=f"User {each}"))


async def test_lists_only_changes_that_match(users: UserService, changes: ChangeService) -> None:
    await create_users(users, 3)
    await users.delete(2)
    found = (await changes.list(filter=OF_BOB, since=0, limit=10)).changes
    assert [(change.entity_id, change.seq) for change in found] == [(2, 2), (2, 4)]


async def test_a_page_that_is_not_full_ends_at_the_last_change(users: UserService, changes: ChangeService) -> None:
    """So a reader with a filter does not read the other changes again."""
    await create_users(users, 5)
    assert (await changes.list(filter=OF_BOB, since=0, limit=10)).end == 5
    assert (await changes.list(filter=OF_BOB, since=3, limit=10)).end == 5
    assert (await changes.list(filter=OF_BOB, since=0, limit=1)).end == 2
    assert (await changes.list(since=0, limit=2)).end == 2
    assert (await changes.list(since=0, limit=9)).end == 5
    assert (await changes.list(since=5, limit=9)).end == 5


async def test_a_position_beyond_the_last_change_is_refused(users: UserService, changes: ChangeService) -> None:
    """The directory was restored, or is another one. The wait would never end."""
    await create_users(users, 2)
    for ask in (
        changes.list(since=3, limit=9),
        changes.list(filter=OF_BOB, since=3, limit=9),
        changes.wait(since=3, limit=9, within_s=9),
        changes.list_about(User, 1, since=3, limit=9),
    ):
        with pytest.raises(Malformed, match="the last one is 2"):
            await ask


async def test_a_reader_can_begin_at_the_end(users: UserService, changes: ChangeService) -> None:
    await create_users(users, 2)
    now = await changes.list(since=None, limit=9)
    assert (now.changes, now.end) == ([], 2)
    assert (await changes.list(filter=OF_BOB, since=None, limit=9)).end == 2


async def test_a_history_continues_where_its_page_ended(users: UserService, changes: ChangeService) -> None:
    await create_users(users, 2)
    await users.patch(1, {"name": "Alice"})
    await users.delete(1)
    first = await changes.list_about(User, 1, since=0, limit=2)
    second = await changes.list_about(User, 1, since=first.end, limit=2)
    third = await changes.list_about(User, 1, since=second.end, limit=2)
    assert [[change.seq for change in page.changes] for page in (first, second, third)] == [[1, 3], [4], []]
    assert (first.end, second.end, third.end) == (3, 4, 4)


class BusyUnits(MemoryUnitsOfWork):
    """Creates a user directly after the first query of a reader."""

    def __init__(self, context: RequestContext) -> None:
        super().__init__()
        self.others = UserService(self, context)

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:
        async with super().reading(context) as work:
            asked: Any = work.changes
            looks = (asked.list, asked.last)

            async def first(look: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
                answer = await look(**arguments)
                asked.list, asked.last = looks
                await self.others.create(NewUser(name="Bob"))
                return answer

            async def listed(**arguments: Any) -> Any:
                return await first(looks[0], **arguments)

            async def last() -> Any:
                return await first(looks[1])

            asked.list, asked.last = listed, last
            yield work


async def test_a_reader_that_continues_from_the_end_of_a_page_misses_no_change(context: RequestContext) -> None:
    units = BusyUnits(context)
    changes = ChangeService(units, context)
    seen, since = [], 0
    for _ in range(4):
        page = await changes.list(filter=parse_filter('kind eq "user"', FIELDS), since=since, limit=10)
        seen += [change.seq for change in page.changes]
        since = page.end
    assert seen == list(range(1, since + 1))
    assert len(seen) >= 3


class Removing(MemoryUnitsOfWork):
    """Counts how often a reader asks whether old changes were removed. Before it lists changes, these are removed."""

    def __init__(self, up_to: int = 0) -> None:
        super().__init__()
        self.up_to = up_to
        self.asked = 0
        self.contexts: list[RequestContext | None] = []

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:
        self.contexts.append(context)
        async with super().reading(context) as work:
            changes: Any = work.changes
            has_expired, list_ = changes.has_expired, changes.list

            async def counted(since: int) -> bool:
                self.asked += 1
                answer: bool = await has_expired(since)
                return answer

            async def listed(**given: Any) -> Sequence[Change]:
                await trim(self, self.up_to)
                found: Sequence[Change] = await list_(**given)
                return found

            changes.has_expired, changes.list = counted, listed
            yield work


async def trim(units: MemoryUnitsOfWork, up_to: int) -> None:
    async with units.writing(RequestContext(actor="retention", request_id="-")) as work:
        await work.changes.trim(before=work.now + timedelta(days=1), up_to=up_to, limit=99)
        await work.commit(None)


@pytest.mark.parametrize("filter", [None, OF_BOB])
async def test_a_reader_of_changes_that_are_removed_meanwhile_gets_position_expired(
    context: RequestContext, filter: Filter | None
) -> None:
    units = Removing(up_to=2)
    await create_users(UserService(units, context), 4)
    with pytest.raises(PositionExpired):
        await ChangeService(units, context).list(filter=filter, since=1, limit=9)


@pytest.mark.parametrize(
    ("since", "filter", "times"),
    [(0, None, 1), (3, None, 1), (4, None, 1), (1, OF_BOB, 1), (0, OF_BOB, 2), (2, OF_BOB, 2), (4, OF_BOB, 1)],
)
async def test_a_reader_looks_again_for_removed_changes_only_where_there_may_be_any(
    context: RequestContext, since: int, filter: Filter | None, times: int
) -> None:
    units = Removing()
    await create_users(UserService(units, context), 4)
    await ChangeService(units, context).list(filter=filter, since=since, limit=9)
    assert units.asked == times


async def test_a_reader_who_continues_reads_where_its_last_change_is_visible_and_a_new_reader_on_the_primary(
    context: RequestContext,
) -> None:
    units = Removing()
    await create_users(UserService(units, context), 4)
    changes = ChangeService(units, context)
    context.min_seq = 1
    await changes.list(since=None, limit=9)
    assert (units.contexts, context.min_seq) == ([None], 1)
    await changes.list(since=3, limit=9)
    assert (units.contexts, context.min_seq) == ([None, context], 3)
    await changes.list_about(User, 1, since=4, limit=9)
    assert context.min_seq == 4


async def test_a_history_whose_next_changes_were_removed_is_position_expired(
    units: MemoryUnitsOfWork, changes: ChangeService
) -> None:
    await create_users(UserService(units, changes.context), 3)
    await trim(units, 2)
    with pytest.raises(PositionExpired):
        await changes.list_about(User, 1, since=1, limit=9)
    assert (await changes.list_about(User, 3, since=0, limit=9)).end == 3


async def test_an_entity_without_kept_changes_has_an_empty_history(
    units: MemoryUnitsOfWork, users: UserService, groups: GroupService, changes: ChangeService
) -> None:
    await create_users(users, 1)
    for name in ("Engineers", "Makers"):
        await groups.create(NewGroup(name=name))
    await users.delete(1)
    await trim(units, 99)
    assert (await changes.list_about(User, 1, since=0, limit=9)).changes == []
    assert (await changes.list_about(Group, 2, since=0, limit=9)).changes == []
    with pytest.raises(NotFound, match="never was a user"):
        await changes.list_about(User, 2, since=0, limit=9)
    with pytest.raises(NotFound, match="never was a group"):
        await changes.list_about(Group, 3, since=0, limit=9)


async def test_the_newest_changes_are_listed_backwards(users: UserService, changes: ChangeService) -> None:
    await create_users(users, 3)
    await users.delete(2)

    def seqs(found: Sequence[Change]) -> list[int]:
        return [each.seq for each in found]

    assert seqs(await changes.latest(limit=2)) == [4, 3]
    assert seqs(await changes.latest(filter=OF_BOB, before=4, limit=2)) == [2]
    assert seqs(await changes.latest_about(User, 2, limit=9)) == [4, 2]
    assert seqs(await changes.latest_about(User, 2, before=4, limit=9)) == [2]
    assert seqs(await changes.latest_about(Group, 2, limit=9)) == []


class Waits(MemoryUnitsOfWork):
    """Records each wait for a change. A wait ends after its planned action."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[tuple[int, float]] = []
        self.read_from: list[int | None] = []
        self.planned: list[tuple[Callable[[], Awaitable[object]], float]] = []
        self.reading_now = 0

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:
        self.read_from.append(None if context is None else context.min_seq)
        async with super().reading(context) as work:
            self.reading_now += 1
            yield work
            self.reading_now -= 1

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        assert self.reading_now == 0, "a reader who waits holds no connection"
        self.waited.append((since, within_s))
        do, left_s = self.planned.pop(0)
        await do()
        return left_s


class Waiting:
    def __init__(self, context: RequestContext) -> None:
        self.units = Waits()
        self.users = UserService(self.units, context)
        self.changes = ChangeService(self.units, context)

    async def nothing(self) -> None:
        """Time passes."""

    async def create(self) -> None:
        await self.users.create(NewUser(name="Somebody"))

    async def wait(self, since: int, within_s: float, filter: Filter | None = None, limit: int = 9) -> Sequence[int]:
        page = await self.changes.wait(filter=filter, since=since, limit=limit, within_s=within_s)
        self.end = page.end
        return [change.seq for change in page.changes]


@pytest.fixture
def waiting(context: RequestContext) -> Waiting:
    return Waiting(context)


async def test_a_reader_does_not_wait_if_there_is_a_change(waiting: Waiting) -> None:
    await create_users(waiting.users, 3)
    assert await waiting.wait(since=1, within_s=30, limit=1) == [2]
    assert waiting.units.waited == []


async def test_a_reader_that_does_not_want_to_wait_is_answered_at_once(waiting: Waiting) -> None:
    assert await waiting.wait(since=0, within_s=0) == []
    assert waiting.units.waited == []


async def test_a_reader_waits_until_there_is_a_change(waiting: Waiting) -> None:
    await create_users(waiting.users, 1)
    waiting.units.planned = [(waiting.create, 12.5)]
    assert await waiting.wait(since=1, within_s=30) == [2]
    assert waiting.units.waited == [(1, 30)]


async def test_a_reader_waits_no_longer_than_requested(waiting: Waiting) -> None:
    waiting.units.planned = [(waiting.nothing, 0.0)]
    assert await waiting.wait(since=0, within_s=30) == []
    assert len(waiting.units.waited) == 1


async def test_a_change_at_the_end_of_a_wait_is_returned(waiting: Waiting) -> None:
    waiting.units.planned = [(waiting.create, 0.0)]
    assert await waiting.wait(since=0, within_s=30) == [1]


async def test_after_changes_that_do_not_match_a_reader_waits_for_the_remaining_seconds(
    waiting: Waiting,
) -> None:
    of_third = parse_filter("entity_id eq 3", FIELDS)
    waiting.units.planned = [(waiting.create, 20.0), (waiting.create, 10.0), (waiting.create, 5.0)]
    assert await waiting.wait(since=0, within_s=30, filter=of_third) == [3]
    assert waiting.units.waited == [(0, 30), (1, 20.0), (2, 10.0)]  # on from where it looked, not from the start
    assert waiting.end == 3


async def test_a_reader_whose_wait_timed_out_continues_from_the_last_change_it_checked(waiting: Waiting) -> None:
    of_third = parse_filter("entity_id eq 3", FIELDS)
    waiting.units.planned = [(waiting.create, 20.0), (waiting.create, 0.0)]
    assert await waiting.wait(since=0, within_s=30, filter=of_third) == []
    assert waiting.end == 2


async def test_a_page_after_a_wait_keeps_its_limit(waiting: Waiting) -> None:
    async def create_three() -> None:
        await create_users(waiting.users, 3)

    waiting.units.planned = [(create_three, 12.5)]
    assert await waiting.wait(since=0, within_s=30, limit=2) == [1, 2]


async def test_a_change_that_ends_a_wait_is_read_on_the_primary(waiting: Waiting) -> None:
    await create_users(waiting.users, 1)
    waiting.changes.context.min_seq = 1
    waiting.units.planned = [(waiting.create, 12.5)]
    assert await waiting.wait(since=1, within_s=30) == [2]
    assert waiting.units.read_from == [1, None]

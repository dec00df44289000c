"""Groups that are parts of other groups, on every store."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import exports
from tests.generated import examples

from domain.changes import Action
from domain.errors import Gone, NotFound
from domain.groups import NewGroup
from domain.idempotency import Committed
from domain.nestings import Cycle, NewNesting
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

CONTEXT = RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def groups(units: UnitsOfWork) -> GroupService:
    return GroupService(units, CONTEXT)


@pytest.fixture
def memberships(units: UnitsOfWork) -> MembershipService:
    return MembershipService(units, CONTEXT)


async def fill(units: UnitsOfWork, *, users: int = 0, groups: int = 0) -> None:
    """Users and groups whose ids begin with 1."""
    async with units.writing(CONTEXT) as work:
        await work.users.add_many([NewUser(name=f"User {number}") for number in range(users)])
        await work.groups.add_many([NewGroup(name=f"Group {number}") for number in range(groups)])
        await work.commit(None)


async def nested(groups: GroupService, *pairs: tuple[int, int]) -> None:
    for group, child in pairs:
        await groups.nest(group, child)


async def children(groups: GroupService, id: int) -> list[int]:
    return [each.id for each in (await groups.list_children(id, limit=99)).items]


async def members(memberships: MembershipService, id: int) -> list[tuple[int, tuple[int, ...]]]:
    return [(each.user_id, each.via) for each in (await memberships.list_nested(id, limit=99)).items]


async def groups_of(groups: GroupService, user_id: int) -> list[tuple[int, tuple[int, ...]]]:
    return [(each.group.id, each.via) for each in (await groups.list_reached(user_id, limit=99)).items]


async def test_nesting_a_group_twice_changes_nothing(units: UnitsOfWork, groups: GroupService) -> None:
    await fill(units, groups=3)
    first = await groups.nest(1, 2)
    assert (await groups.nest(1, 2)).seq is None
    await groups.nest(1, 3)
    assert await children(groups, 1) == [2, 3]
    assert (await groups.list_children(1, limit=1)).more
    async with units.reading() as work:
        for id in (1, 2):
            change = (await work.changes.list(subject=("group", id), limit=9))[1]
            assert (change.kind, change.action, change.seq) == ("nesting", Action.CREATED, first.seq)
            assert change.after == {"group_id": 1, "child_id": 2}

    assert (await groups.unnest(1, 2)).seq is not None
    assert (await groups.unnest(1, 2)).seq is None
    assert await children(groups, 1) == [3]


async def test_a_nesting_needs_two_groups_that_exist(units: UnitsOfWork, groups: GroupService) -> None:
    await fill(units, groups=3)
    await groups.delete(3)
    for pair in ((1, 9), (9, 1)):
        with pytest.raises(NotFound):
            await groups.nest(*pair)
    for pair in ((1, 3), (3, 1)):
        with pytest.raises(Gone):
            await groups.nest(*pair)
    for refused in (groups.unnest(9, 1), groups.list_children(9, limit=9)):
        with pytest.raises(NotFound):
            await refused
    for refused in (groups.unnest(3, 1), groups.list_children(3, limit=9)):
        with pytest.raises(Gone):
            await refused


async def test_no_group_is_a_part_of_itself(units: UnitsOfWork, groups: GroupService) -> None:
    await fill(units, groups=5)
    await nested(groups, (1, 2), (2, 3), (3, 4), (1, 4))
    for pair in ((1, 1), (2, 1), (4, 1), (4, 3), (3, 1)):
        with pytest.raises(Cycle):
            await groups.nest(*pair)
    await nested(groups, (5, 1), (2, 4))
    with pytest.raises(Cycle):
        await groups.nest(4, 5)


async def test_a_nesting_through_a_deleted_group_still_counts_as_a_cycle(
    units: UnitsOfWork, groups: GroupService
) -> None:
    await fill(units, groups=3)
    await nested(groups, (1, 2), (2, 3))
    await groups.delete(2)
    with pytest.raises(Cycle):
        await groups.nest(3, 1)
    await groups.restore(2)
    assert await children(groups, 1) == [2]
    await groups.purge(2)
    assert await children(groups, 1) == []
    await groups.nest(3, 1)


async def test_a_cycle_within_one_unit_is_refused(units: UnitsOfWork) -> None:
    await fill(units, groups=3)
    async with units.writing(CONTEXT) as work:
        with pytest.raises(Cycle):
            await work.nestings.add_many([NewNesting(group_id=a, child_id=b) for a, b in ((1, 2), (2, 3), (3, 1))])
    async with units.reading() as work:
        assert await work.nestings.list(limit=9) == []


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    async with asyncio.timeout(60):
        return list(await asyncio.gather(*calls, return_exceptions=True))


@pytest.mark.parametrize("size", [2, 3, 8])
async def test_concurrent_nestings_never_close_a_cycle(units: UnitsOfWork, groups: GroupService, size: int) -> None:
    await fill(units, groups=size)
    for _ in range(3):
        results = await at_once(*[groups.nest(id, id % size + 1) for id in range(1, size + 1)])
        assert [type(each) for each in results].count(Cycle) == 1, results
        assert len([each for each in results if isinstance(each, Committed)]) == size - 1, results
        for id in range(1, size + 1):
            await groups.unnest(id, id % size + 1)


async def test_concurrent_nestings_of_the_same_groups_write_one_change(
    units: UnitsOfWork, groups: GroupService
) -> None:
    await fill(units, groups=2)
    results = await at_once(*[groups.nest(1, 2) for _ in range(8)])
    assert len([each for each in results if each.seq is not None]) == 1
    assert await children(groups, 1) == [2]


async def test_nested_members_and_groups_are_listed_with_the_groups_between(
    units: UnitsOfWork, groups: GroupService, memberships: MembershipService
) -> None:
    await fill(units, users=5, groups=5)
    await nested(groups, (1, 2), (1, 3), (2, 4), (3, 4))  # 5 stands alone
    for group, user in ((1, 1), (2, 1), (4, 2), (3, 3), (4, 3), (5, 4)):
        await memberships.put(group, user, {"role": f"in {group}"})

    assert await members(memberships, 1) == [(1, (1, 2)), (2, (4,)), (3, (3, 4))]
    assert await members(memberships, 2) == [(1, (2,)), (2, (4,)), (3, (4,))]
    assert await members(memberships, 5) == [(4, (5,))]
    page = await memberships.list_nested(1, limit=9)
    assert [each.role for each in page.items] == ["in 1", None, None]
    assert await groups_of(groups, 1) == [(1, (1, 2)), (2, (2,))]
    assert await groups_of(groups, 2) == [(1, (4,)), (2, (4,)), (3, (4,)), (4, (4,))]
    assert await groups_of(groups, 3) == [(1, (3, 4)), (2, (4,)), (3, (3, 4)), (4, (4,))]
    assert await groups_of(groups, 5) == []

    await groups.delete(3)
    assert await members(memberships, 1) == [(1, (1, 2)), (2, (4,)), (3, (4,))]
    assert await groups_of(groups, 3) == [(1, (4,)), (2, (4,)), (4, (4,))]
    await groups.delete(2)
    assert await members(memberships, 1) == [(1, (1,))]
    await UserService(units, CONTEXT).delete(1)
    assert await members(memberships, 1) == []
    assert await members(memberships, 4) == [(2, (4,)), (3, (4,))]
    for gone in (memberships.list_nested(2, limit=9), groups.list_reached(1, limit=9)):
        with pytest.raises(Gone):
            await gone


async def test_the_pages_of_nested_members_add_up_to_the_whole_list(
    units: UnitsOfWork, groups: GroupService, memberships: MembershipService
) -> None:
    await fill(units, users=7, groups=3)
    await nested(groups, (1, 2), (2, 3))
    for number in range(1, 8):
        await memberships.change(number % 3 + 1, add={number: {}, 8 - number: {}})
    whole = await members(memberships, 1)
    assert [user for user, _ in whole] == list(range(1, 8))
    for limit in (1, 2, 3, 7):
        seen: list[tuple[int, tuple[int, ...]]] = []
        page = await memberships.list_nested(1, limit=limit)
        while True:
            seen += [(each.user_id, each.via) for each in page.items]
            assert len(page.items) <= limit
            if not page.more:
                break
            page = await memberships.list_nested(1, after=page.items[-1].user_id, limit=limit)
        assert seen == whole
    everybody = await exports.everything(memberships.export_nested(1, exports.MEMBERS))
    streamed = [(each.user_id, tuple(each.via)) for each in everybody]
    assert streamed == whole
    first = await groups.list_reached(4, limit=1)
    assert first.more
    rest = await groups.list_reached(4, after=first.items[0].group.id, limit=9)
    assert [each.group.id for each in (*first.items, *rest.items)] == [id for id, _ in await groups_of(groups, 4)]


async def test_a_long_chain_of_groups_is_followed_to_its_end(
    units: UnitsOfWork, groups: GroupService, memberships: MembershipService
) -> None:
    await fill(units, users=1, groups=60)
    async with units.writing(CONTEXT) as work:
        await work.nestings.add_many([NewNesting(group_id=id, child_id=id + 1) for id in range(1, 60)])
        await work.commit(None)
    await memberships.put(60, 1)
    assert await members(memberships, 1) == [(1, (60,))]
    assert [id for id, _ in await groups_of(groups, 1)] == list(range(1, 61))
    with pytest.raises(Cycle):
        await groups.nest(60, 1)


Graph = tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]], Sequence[int]]
graphs = st.tuples(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=9),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=9),
    st.lists(st.integers(1, 5), max_size=2, unique=True),
)


async def seen_in(units: UnitsOfWork, graph: Graph) -> object:
    """What one directory shows after calls that nest groups, add members and delete groups, refused or not."""
    nestings, joined, deleted = graph
    groups, memberships = GroupService(units, CONTEXT), MembershipService(units, CONTEXT)
    async with units.reading() as work:
        first = await work.groups.count()
        users = await work.users.count()
    await fill(units, users=4, groups=5)
    async with units.reading() as work:
        base = (await work.groups.list(limit=1000))[first].id - 1
        user_base = (await work.users.list(limit=1000))[users].id - 1
    cycles = [pair for pair in nestings if await is_cycle(groups, base + pair[0], base + pair[1])]
    for group, user in joined:
        await memberships.put(base + group, user_base + user)
    for group in deleted:
        await groups.delete(base + group)
    living = [id for id in range(1, 6) if id not in deleted]
    below = {id: shifted(await members(memberships, base + id), user_base, base) for id in living}
    above = {id: shifted(await groups_of(groups, user_base + id), base, base) for id in range(1, 5)}
    for group in living:
        await groups.purge(base + group)  # names are free for the next example
    return cycles, below, above


def shifted(found: Sequence[tuple[int, tuple[int, ...]]], ids: int, groups: int) -> list[tuple[int, list[int]]]:
    return [(id - ids, [each - groups for each in via]) for id, via in found]


async def is_cycle(groups: GroupService, id: int, child_id: int) -> bool:
    try:
        await groups.nest(id, child_id)
    except Cycle:
        return True
    return False


@examples(6)
@given(graph=graphs)
async def test_all_stores_agree_on_any_nestings(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, graph: Graph
) -> None:
    expected = await seen_in(MemoryUnitsOfWork(), graph)
    assert await seen_in(SqlUnitsOfWork(sqlite), graph) == expected
    assert await seen_in(SqlUnitsOfWork(postgres), graph) == expected

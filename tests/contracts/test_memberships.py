"""Groups and memberships, on every store."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests import exports

from domain import groups as group_fields
from domain import memberships as membership_fields
from domain import users as user_fields
from domain.changes import Action, Change
from domain.errors import Conflict, Gone, Invalid, NotFound
from domain.groups import Group, NewGroup
from domain.lists.fields import ID, Field, Kind
from domain.lists.filters import And, Comparison, Filter, Not, Operator, Present, Some
from domain.lists.pages import parse_sort
from domain.lists.terms import parse_filter
from domain.memberships import BY_USER, Membership, NewMembership
from domain.users import NewUser, User
from domain.work import RequestContext, UnitsOfWork
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

CLIENTS = 20


@pytest.fixture
def groups(units: UnitsOfWork, context: RequestContext) -> GroupService:
    return GroupService(units, context)


@pytest.fixture
def memberships(units: UnitsOfWork, context: RequestContext) -> MembershipService:
    return MembershipService(units, context)


async def people(users: UserService, *names: str) -> list[User]:
    return [(await users.create(NewUser(name=name))).result for name in names]


async def teams(groups: GroupService, *names: str) -> list[Group]:
    return [(await groups.create(NewGroup(name=name))).result for name in names]


async def members(memberships: MembershipService, group: Group) -> list[int]:
    return [each.user_id for each in (await memberships.list(group.id, limit=1000)).items]


async def changes_about(units: UnitsOfWork, about: tuple[str, int] | None = None, since: int = 0) -> Sequence[Change]:
    async with units.reading() as work:
        return await work.changes.list(subject=about, since=since, limit=1000)


async def users_in(units: UnitsOfWork, expression: str) -> list[int]:
    async with units.reading() as work:
        found = await work.users.list(filter=parse_filter(expression, user_fields.FIELDS), limit=100)
        return [each.id for each in found]


async def groups_with(units: UnitsOfWork, expression: str) -> list[int]:
    async with units.reading() as work:
        found = await work.groups.list(filter=parse_filter(expression, group_fields.FIELDS), limit=100)
        return [each.id for each in found]


async def test_a_group_is_stored_and_found_with_all_its_fields(units: UnitsOfWork, groups: GroupService) -> None:
    new = NewGroup(name=" Engineers ", external_id="e", description="Who builds it", attributes={"floor": [1, None]})
    made = (await groups.create(new)).result
    assert (made.name, made.external_id, made.description) == ("Engineers", "e", "Who builds it")
    assert await groups.get(made.id) == made
    assert await groups.find("name", "ENGINEERS") == made
    assert await groups.find("external_id", "e") == made
    (change,) = await changes_about(units, ("group", made.id))
    assert (change.kind, change.action, change.entity_id) == ("group", Action.CREATED, made.id)


async def test_groups_that_are_not_deleted_have_different_names(groups: GroupService) -> None:
    made = (await groups.create(NewGroup(name="Straße"))).result
    for spelling in ("strasse", " STRASSE ", "Straße"):
        with pytest.raises(Conflict) as refused:
            await groups.create(NewGroup(name=spelling))
        assert refused.value.field == "name"
    await groups.delete(made.id)
    other = (await groups.create(NewGroup(name="STRASSE"))).result
    with pytest.raises(Conflict):
        await groups.restore(made.id)
    await groups.delete(other.id)
    assert (await groups.restore(made.id)).result.name == "Straße"


async def test_lists_of_groups_sort_by_each_field_that_can_sort(groups: GroupService) -> None:
    a, b, c = await teams(groups, "b", "A", "c")
    await groups.patch(a.id, {"external_id": "x"})
    for text, expected in {
        "name": [b, a, c], "-name": [c, a, b], "external_id": [a, b, c], "-created_at": [c, b, a],
        "updated_at": [b, c, a],
    }.items():  # fmt: skip
        page = await groups.list(sort=parse_sort(text, group_fields.FIELDS), limit=10)
        assert [each.id for each in page.items] == [each.id for each in expected], text


async def test_a_membership_is_in_the_changes_of_its_group_and_of_its_user(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    (alice,), (engineers,) = await people(users, "Alice"), await teams(groups, "Engineers")
    made = (await memberships.put(engineers.id, alice.id, {"role": "lead"})).result
    assert (made.group_id, made.user_id, made.role, made.version) == (engineers.id, alice.id, "lead", 1)

    assert await memberships.get(engineers.id, alice.id) == made
    for about in (("group", engineers.id), ("user", alice.id), ("membership", made.id)):
        change = (await changes_about(units, about))[-1]
        assert (change.kind, change.action) == ("membership", Action.CREATED)
        assert change.after == {"group_id": engineers.id, "user_id": alice.id, "role": "lead"}
        assert change.subjects == (("membership", made.id), ("group", engineers.id), ("user", alice.id))
    assert (await groups.get(engineers.id)).version == 1  # of its own fields


async def test_adding_the_same_member_twice_is_a_conflict(
    units: UnitsOfWork, users: UserService, groups: GroupService
) -> None:
    (alice,), (engineers,) = await people(users, "Alice"), await teams(groups, "Engineers")
    new = NewMembership(group_id=engineers.id, user_id=alice.id)
    async with units.writing(RequestContext(actor="t", request_id="r")) as work:
        await work.memberships.add(new)
        with pytest.raises(Conflict):
            await work.memberships.add(replace(new, role="other"))


@pytest.mark.parametrize("missing", ["group", "user", "deleted user", "deleted group"])
async def test_a_membership_needs_a_user_and_a_group_that_exist(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService, missing: str
) -> None:
    (alice,), (engineers,) = await people(users, "Alice"), await teams(groups, "Engineers")
    group_id = 4711 if missing == "group" else engineers.id
    user_id = 4711 if missing == "user" else alice.id
    if missing == "deleted user":
        await users.delete(alice.id)
    if missing == "deleted group":
        await groups.delete(engineers.id)
    head = len(await changes_about(units))

    with pytest.raises(Gone if "deleted" in missing else NotFound) as refused:
        await memberships.put(group_id, user_id)
    assert missing.removeprefix("deleted ") in refused.value.detail
    with pytest.raises((Invalid, Gone, NotFound)):
        await memberships.change(group_id, add={user_id: {}})
    assert len(await changes_about(units)) == head


async def test_memberships_are_found_by_group_and_users(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob, carol = await people(users, "Alice", "Bob", "Carol")
    engineers, others = await teams(groups, "Engineers", "Others")
    await memberships.change(engineers.id, add={carol.id: {}, alice.id: {}})
    await memberships.put(others.id, bob.id)
    await users.delete(carol.id)
    asked = [alice.id, bob.id, carol.id, 4711, 2**64]
    for begin in (units.reading, lambda: units.writing(RequestContext(actor="t", request_id="r"))):
        async with begin() as work:
            assert [each.user_id for each in await work.memberships.among(engineers.id, asked)] == [alice.id]
            all = await work.memberships.among(engineers.id, asked, hidden=True)
            assert [each.user_id for each in all] == [carol.id, alice.id]  # in the order in which they were added
            assert await work.memberships.among(2**64, asked) == []
            assert await work.memberships.among(engineers.id, []) == []


async def test_members_are_listed_by_user_in_pages_and_filtered(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob, carol, dora = await people(users, "Alice", "Bob", "Carol", "Dora")
    engineers, others = await teams(groups, "Engineers", "Others")
    await memberships.change(engineers.id, add={dora.id: {"role": "lead"}, bob.id: {}, alice.id: {"role": "lead"}})
    await memberships.put(others.id, carol.id)

    first = await memberships.list(engineers.id, limit=2)
    assert ([each.user_id for each in first.items], first.more) == ([alice.id, bob.id], True)
    rest = await memberships.list(engineers.id, limit=2, after=BY_USER.position(first.items[-1]))
    assert ([each.user_id for each in rest.items], rest.more) == ([dora.id], False)
    leads = parse_filter('role eq "lead"', membership_fields.FIELDS)
    assert [each.user_id for each in (await memberships.list(engineers.id, filter=leads, limit=9)).items] == [
        alice.id,
        dora.id,
    ]
    assert await memberships.count(engineers.id) == 3
    assert await memberships.count(engineers.id, leads) == 2
    streamed = await exports.everything(memberships.export(engineers.id, exports.MEMBERSHIPS))
    assert [each.user_id for each in streamed] == [alice.id, bob.id, dora.id]


async def test_a_deleted_user_is_in_no_group_and_restoring_it_brings_back_its_memberships(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob = await people(users, "Alice", "Bob")
    engineers, others = await teams(groups, "Engineers", "Others")
    made = [(await memberships.put(each.id, alice.id, {"role": "lead"})).result for each in (engineers, others)]
    await memberships.put(engineers.id, bob.id)
    head = (await changes_about(units))[-1].seq

    await users.delete(alice.id)
    assert await members(memberships, engineers) == [bob.id]
    assert await members(memberships, others) == []
    assert await groups_with(units, f"members eq {alice.id}") == []
    with pytest.raises(NotFound):
        await memberships.get(engineers.id, alice.id)
    *hidden, user = await changes_about(units, since=head)
    assert (user.kind, user.action) == ("user", Action.DELETED)
    assert [(each.kind, each.action, each.entity_id, each.version) for each in hidden] == [
        ("membership", Action.DELETED, each.id, 2) for each in made
    ]
    deleted_at = (user.after or {})["deleted_at"]
    assert [each.before for each in hidden] == [{"deleted_at": None}] * 2
    assert [(each.after or {})["deleted_at"] for each in hidden] == [deleted_at] * 2
    assert [each.seq for each in await changes_about(units, ("group", others.id), since=head)] == [hidden[1].seq]

    await users.restore(alice.id)
    assert await members(memberships, engineers) == [alice.id, bob.id]
    back = await memberships.get(others.id, alice.id)
    assert back == replace(made[1], version=3, updated_at=back.updated_at)
    user, *shown = await changes_about(units, since=hidden[-1].seq + 1)
    assert (user.kind, user.action) == ("user", Action.RESTORED)
    assert [(each.action, each.entity_id, each.version) for each in shown] == [
        (Action.RESTORED, each.id, 3) for each in made
    ]
    assert [(each.before or {})["deleted_at"] for each in shown] == [deleted_at] * 2


async def test_restoring_a_user_does_not_bring_back_an_ended_membership(
    users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    (alice,), (engineers, others) = await people(users, "Alice"), await teams(groups, "Engineers", "Others")
    for each in (engineers, others):
        await memberships.put(each.id, alice.id)
    await memberships.remove(others.id, alice.id)
    await users.delete(alice.id)
    await memberships.remove(engineers.id, alice.id)  # it is hidden by now
    await users.restore(alice.id)
    assert await members(memberships, engineers) == await members(memberships, others) == []


async def test_deleting_a_group_writes_one_change_and_restoring_it_brings_back_its_members(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob = await people(users, "Alice", "Bob")
    (engineers,) = await teams(groups, "Engineers")
    await memberships.change(engineers.id, add={alice.id: {}, bob.id: {}})
    head = (await changes_about(units))[-1].seq
    await groups.delete(engineers.id)

    assert [(each.kind, each.action) for each in await changes_about(units, since=head)] == [("group", Action.DELETED)]
    assert await users_in(units, f"groups eq {engineers.id}") == []
    assert await users_in(units, "groups pr") == []
    assert (await groups.list_of_user(alice.id, limit=9)).items == []
    for refused in (
        memberships.list(engineers.id, limit=9), memberships.get(engineers.id, alice.id),
        memberships.count(engineers.id), memberships.remove(engineers.id, alice.id),
    ):  # fmt: skip
        with pytest.raises(Gone):
            await refused

    await users.delete(alice.id)
    await groups.restore(engineers.id)
    assert await members(memberships, engineers) == [bob.id]
    await users.restore(alice.id)
    assert await members(memberships, engineers) == [alice.id, bob.id]


async def test_a_user_that_is_restored_before_its_group_keeps_its_membership(
    users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    (alice,), (engineers,) = await people(users, "Alice"), await teams(groups, "Engineers")
    await memberships.put(engineers.id, alice.id)
    await users.delete(alice.id)
    await groups.delete(engineers.id)
    await users.restore(alice.id)
    assert (await groups.list_of_user(alice.id, limit=9)).items == []
    await groups.restore(engineers.id)
    assert await members(memberships, engineers) == [alice.id]


@pytest.mark.parametrize("deleted", [False, True], ids=["shown", "deleted"])
async def test_an_erased_user_leaves_no_trace_in_its_groups(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService, deleted: bool
) -> None:
    alice, bob = await people(users, "Alice", "Bob")
    (engineers,) = await teams(groups, "Engineers")
    await memberships.put(engineers.id, alice.id, {"role": "the secret lead"})
    await memberships.put(engineers.id, bob.id, {"role": "lead"})
    if deleted:
        await users.delete(alice.id)
    await users.purge(alice.id)

    assert await members(memberships, engineers) == [bob.id]
    async with units.reading() as work:
        assert [each.user_id for each in await work.memberships.list(limit=9)] == [bob.id]
    about = [each for each in await changes_about(units, ("user", alice.id)) if each.kind == "membership"]
    assert [each.action for each in about][:1] == [Action.CREATED]
    assert about[-1].action is Action.ENDED
    assert all(each.before is None and each.after is None for each in about)
    assert "secret" not in repr(await changes_about(units))
    assert [each.after for each in await changes_about(units, ("user", bob.id))][-1] is not None


async def test_an_erased_group_ends_its_memberships_and_those_of_deleted_users(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob = await people(users, "Alice", "Bob")
    engineers, others = await teams(groups, "Engineers", "Others")
    for each in (engineers, others):
        await memberships.change(each.id, add={alice.id: {}, bob.id: {}})
    await users.delete(alice.id)
    await groups.purge(engineers.id)
    await users.restore(alice.id)
    async with units.reading() as work:
        left = await work.memberships.list(limit=9)
    assert [(each.group_id, each.user_id) for each in left] == [(others.id, alice.id), (others.id, bob.id)]
    ended = [each for each in await changes_about(units, ("group", engineers.id)) if each.action is Action.ENDED]
    assert [(each.before or {})["user_id"] for each in ended] == [alice.id, bob.id]  # whose they still are
    with pytest.raises(NotFound):
        await groups.get(engineers.id)


async def test_a_filter_can_test_several_fields_of_one_related_entity(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob, carol = await people(users, "Alice", "Bob", "Carol")
    engineers, others, outer = await teams(groups, "Engineers", "Others", "Outer")
    await memberships.change(engineers.id, add={alice.id: {}, bob.id: {}})
    await memberships.put(others.id, bob.id)
    await groups.nest(outer.id, engineers.id)
    await groups.nest(outer.id, others.id)
    await groups.delete(others.id)

    def of(field: Field, name: str, value: Any, key: Field = ID) -> Filter:
        return Some(field, (), Comparison(key, Operator(name), value))

    in_groups, name = user_fields.FIELDS["groups"], group_fields.FIELDS["name"]
    kind = Field("kind", Kind.EXACT)
    async with units.reading() as work:

        async def matching(filter: Filter) -> list[int]:
            return [each.id for each in await work.users.list(filter=filter, limit=9)]

        async def holding(filter: Filter) -> list[int]:
            return [each.id for each in await work.groups.list(filter=filter, limit=9)]

        assert await matching(of(in_groups, "sw", "engin", name)) == [alice.id, bob.id]
        assert await matching(of(in_groups, "eq", "others", name)) == [], "a deleted group has no members"
        both = And((Comparison(name, Operator.EQ, "engineers"), Comparison(ID, Operator.EQ, outer.id)))
        assert await matching(Some(in_groups, (), both)) == [], "one and the same group matches"
        assert await matching(Not(of(in_groups, "gt", 0))) == [carol.id]
        assert await holding(of(group_fields.MEMBERS, "eq", alice.id)) == [engineers.id]
        assert await holding(of(group_fields.MEMBERS, "eq", "user", kind)) == [engineers.id]
        assert await holding(of(group_fields.PARTS, "eq", "group", kind)) == [outer.id]
        assert await holding(of(group_fields.PARTS, "eq", others.id)) == []
        assert await holding(Present(group_fields.PARTS)) == [outer.id]


async def test_users_and_groups_are_filtered_by_memberships(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    alice, bob, carol = await people(users, "Alice", "Bob", "Carol")
    engineers, others, empty = await teams(groups, "Engineers", "Others", "Empty")
    await memberships.change(engineers.id, add={alice.id: {}, bob.id: {}})
    await memberships.put(others.id, bob.id)

    assert await users_in(units, f"groups eq {engineers.id}") == [alice.id, bob.id]
    assert await users_in(units, f"groups ne {others.id}") == [alice.id, carol.id]
    assert await users_in(units, f"groups gt {engineers.id}") == [bob.id]
    assert await users_in(units, f"groups eq {engineers.id} and groups eq {others.id}") == [bob.id]
    assert await users_in(units, f'groups eq {engineers.id} and not (name eq "bob")') == [alice.id]
    assert await users_in(units, "groups pr") == [alice.id, bob.id]
    assert await users_in(units, "groups eq null") == [carol.id]
    assert await users_in(units, "groups eq 4711") == []
    assert await groups_with(units, f"members eq {bob.id}") == [engineers.id, others.id]
    assert await groups_with(units, f"not (members eq {bob.id})") == [empty.id]
    assert (await groups.list_of_user(bob.id, limit=1)).more
    assert [each.id for each in (await groups.list_of_user(bob.id, limit=9)).items] == [engineers.id, others.id]
    with pytest.raises(NotFound):
        await groups.list_of_user(4711, limit=9)


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    async with asyncio.timeout(60):
        return list(await asyncio.gather(*calls))


async def test_concurrent_additions_of_members_are_all_kept(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    all = await people(users, *[f"User {number}" for number in range(CLIENTS)])
    (engineers,) = await teams(groups, "Engineers")
    written = await at_once(*[memberships.put(engineers.id, each.id) for each in all])
    assert await members(memberships, engineers) == [each.id for each in all]
    seqs = [each.seq for each in written]
    assert len({*seqs}) == CLIENTS
    about = await changes_about(units, ("group", engineers.id))
    assert sorted(each.seq for each in about if each.kind == "membership") == sorted(each for each in seqs if each)


async def test_concurrent_additions_of_one_member_write_one_change(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    (alice,), (engineers,) = await people(users, "Alice"), await teams(groups, "Engineers")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: memberships.put(engineers.id, alice.id),
        lambda: memberships.change(engineers.id, add={alice.id: {}}),
    ]
    await at_once(*[calls[number % 2]() for number in range(CLIENTS)])
    assert await members(memberships, engineers) == [alice.id]
    about = [each for each in await changes_about(units, ("user", alice.id)) if each.kind == "membership"]
    assert [each.action for each in about] == [Action.CREATED]


async def test_concurrent_changes_of_overlapping_members_have_a_serial_order(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    all = [each.id for each in await people(users, *[f"User {number}" for number in range(8)])]
    (engineers,) = await teams(groups, "Engineers")
    joining = [all[n:] if n % 2 else all[n:][::-1] for n in range(8)]
    await at_once(
        *[memberships.change(engineers.id, add={id: {} for id in joining[n]}, remove=all[:n]) for n in range(8)],
        *[memberships.put(engineers.id, id) for id in all],
    )
    kept = await members(memberships, engineers)
    changes = [each for each in await changes_about(units, ("group", engineers.id)) if each.kind == "membership"]
    replayed: set[Any] = set()
    for each in changes:
        if each.action is Action.CREATED:
            replayed.add((each.after or {})["user_id"])
        else:
            replayed.discard((each.before or {})["user_id"])
    assert kept == sorted(replayed)


async def test_a_user_deleted_while_it_is_added_to_a_group_is_not_a_member(
    units: UnitsOfWork, users: UserService, groups: GroupService, memberships: MembershipService
) -> None:
    all = await people(users, *[f"User {number}" for number in range(8)])
    (engineers,) = await teams(groups, "Engineers")
    calls = [call for each in all for call in (memberships.put(engineers.id, each.id), users.delete(each.id))]
    async with asyncio.timeout(60):
        await asyncio.gather(*calls, return_exceptions=True)
    assert await members(memberships, engineers) == []
    async with units.reading() as work:
        assert await work.memberships.list(limit=99) == []
    for each in all:
        await users.restore(each.id)
    joined = {each.entity_id for each in await changes_about(units) if each.kind == "membership"}
    async with units.reading() as work:
        assert {each.id for each in await work.memberships.list(limit=99)} == joined


def test_lists_of_memberships_sort_by_user_only() -> None:
    assert [name for name, field in membership_fields.FIELDS.items() if field.sorts] == ["user_id"]
    assert Membership.identified_by == ("group_id", "user_id")

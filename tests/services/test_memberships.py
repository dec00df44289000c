"""The members of a group and their roles."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests import exports

from domain.errors import Gone, Invalid, NotFound
from domain.groups import Group, NewGroup
from domain.lists.pages import JsonPage
from domain.lists.terms import parse_filter
from domain.memberships import FIELDS
from domain.users import NewUser
from domain.values import JsonObject
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.changes import ChangeService
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

ALICE, BOB, CAROL, GONE, NOBODY = 1, 2, 3, 4, 5


@pytest.fixture
async def engineers(groups: GroupService, users: UserService) -> Group:
    """An empty group, beside three users and a deleted one."""
    for name in ("Alice", "Bob", "Carol", "Gone"):
        await users.create(NewUser(name=name))
    await users.delete(GONE)
    return (await groups.create(NewGroup(name="Engineers"))).result


async def roles(memberships: MembershipService, group: Group) -> dict[int, str | None]:
    return {each.user_id: each.role for each in (await memberships.list(group.id, limit=99)).items}


async def test_putting_a_member_twice_changes_nothing(
    memberships: MembershipService, changes: ChangeService, engineers: Group
) -> None:
    first = await memberships.put(engineers.id, ALICE)
    assert (first.result.role, first.result.version) == (None, 1)
    again = await memberships.put(engineers.id, ALICE)
    assert (again.result, again.seq) == (first.result, None)
    assert await memberships.get(engineers.id, ALICE) == first.result


@pytest.mark.parametrize(
    ("given", "role"),
    [({}, "lead"), ({"role": "lead"}, "lead"), ({"role": "member"}, "member"), ({"role": None}, None)],
)
async def test_a_role_that_is_not_given_is_kept(
    memberships: MembershipService, engineers: Group, given: JsonObject, role: str | None
) -> None:
    await memberships.put(engineers.id, ALICE, {"role": "lead"})
    put = await memberships.put(engineers.id, ALICE, given)
    assert (put.result.role, put.seq is None) == (role, role == "lead")
    await memberships.put(engineers.id, BOB, {"role": "lead"})
    await memberships.change(engineers.id, add={BOB: given})
    assert await roles(memberships, engineers) == {ALICE: role, BOB: role}


@pytest.mark.parametrize("role", ["", " ", "x" * 65, "\x00", 7])
async def test_an_invalid_role_is_refused(memberships: MembershipService, engineers: Group, role: str) -> None:
    for _ in ("new", "changed"):
        with pytest.raises(Invalid) as refused:
            await memberships.put(engineers.id, ALICE, {"role": role})
        assert [fault.pointer for fault in refused.value.faults] == ["/role"]
        with pytest.raises(Invalid) as refused:
            await memberships.change(engineers.id, add={BOB: {}, ALICE: {"role": role}})
        assert [fault.pointer for fault in refused.value.faults] == ["/add/1/role"]
        await memberships.put(engineers.id, ALICE, {"role": "x" * 64})
    assert await roles(memberships, engineers) == {ALICE: "x" * 64}


async def test_a_missing_user_cannot_be_a_member(memberships: MembershipService, engineers: Group) -> None:
    with pytest.raises(NotFound):
        await memberships.put(engineers.id, NOBODY)
    with pytest.raises(Gone):
        await memberships.put(engineers.id, GONE)
    with pytest.raises(NotFound):
        await memberships.put(engineers.id + 1, ALICE)
    with pytest.raises(NotFound):
        await memberships.get(engineers.id, ALICE)


async def test_removing_a_member_twice_changes_nothing(memberships: MembershipService, engineers: Group) -> None:
    await memberships.put(engineers.id, ALICE)
    assert (await memberships.remove(engineers.id, ALICE)).seq is not None
    for nothing in (ALICE, GONE, NOBODY):
        assert (await memberships.remove(engineers.id, nothing)).seq is None
    assert await roles(memberships, engineers) == {}
    with pytest.raises(NotFound):
        await memberships.remove(engineers.id + 1, ALICE)


async def test_many_members_are_added_and_removed_at_once(
    memberships: MembershipService, changes: ChangeService, engineers: Group
) -> None:
    await memberships.change(engineers.id, add={ALICE: {"role": "lead"}, BOB: {}})
    head = (await changes.list(since=0, limit=99)).end
    committed = await memberships.change(
        engineers.id, add={CAROL: {"role": "new"}, ALICE: {"role": "old"}}, remove=[BOB, NOBODY, BOB]
    )
    done = committed.result
    assert (done.group, done.added, done.changed, done.removed) == (engineers, 1, 1, 1)
    assert await roles(memberships, engineers) == {ALICE: "old", CAROL: "new"}
    recorded = (await changes.list(since=head, limit=99)).changes
    assert [(each.kind, each.action.value) for each in recorded] == [
        ("membership", "created"), ("membership", "updated"), ("membership", "ended")
    ]  # fmt: skip
    assert committed.seq == recorded[-1].seq
    assert (await memberships.change(engineers.id, add={ALICE: {}}, remove=[BOB])).seq is None


async def test_a_change_of_members_is_atomic_and_names_each_missing_user(
    memberships: MembershipService, engineers: Group
) -> None:
    await memberships.put(engineers.id, BOB)
    with pytest.raises(Invalid) as refused:
        await memberships.change(
            engineers.id, add={ALICE: {}, NOBODY: {}, BOB: {"role": "x"}, GONE: {}}, remove=[CAROL]
        )
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [
        ("/add/1", "not_found"), ("/add/3", "not_found")
    ]  # fmt: skip
    assert await roles(memberships, engineers) == {BOB: None}
    with pytest.raises(NotFound):
        await memberships.change(engineers.id + 1, add={ALICE: {}})


async def test_adding_and_removing_the_same_user_at_once_is_refused(
    memberships: MembershipService, engineers: Group
) -> None:
    with pytest.raises(Invalid) as refused:
        await memberships.change(engineers.id, add={ALICE: {}, BOB: {}}, remove=[CAROL, BOB])
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/remove/1", "not_allowed")]
    assert await roles(memberships, engineers) == {}


async def test_a_removed_member_does_not_return_when_it_is_restored(
    memberships: MembershipService, users: UserService, engineers: Group
) -> None:
    await memberships.change(engineers.id, add={ALICE: {}, BOB: {}})
    await users.delete(ALICE)
    assert (await memberships.change(engineers.id, add={}, remove=[ALICE])).result.removed == 1
    await users.restore(ALICE)
    assert await roles(memberships, engineers) == {BOB: None}


async def test_a_membership_that_ended_while_its_user_was_deleted_is_not_restored_with_it(
    memberships: MembershipService, users: UserService, engineers: Group
) -> None:
    await memberships.put(engineers.id, ALICE)
    await users.delete(ALICE)
    assert (await memberships.remove(engineers.id, ALICE)).seq is not None
    await users.restore(ALICE)
    assert await memberships.count(engineers.id) == 0


async def test_a_dry_run_returns_what_would_be_done(
    units: MemoryUnitsOfWork, memberships: MembershipService, engineers: Group
) -> None:
    dry = MembershipService(units, RequestContext(actor="t", request_id="r", dry_run=True))
    done = (await dry.change(engineers.id, add={ALICE: {}, BOB: {}})).result
    assert done.added == 2
    assert await roles(memberships, engineers) == {}


async def drained(pages: AsyncIterator[JsonPage]) -> list[JsonPage]:
    return [page async for page in pages]


@pytest.mark.parametrize(
    "call",
    [
        lambda members, group: members.get(group, ALICE),
        lambda members, group: members.list(group, limit=9),
        lambda members, group: members.list_as_json(group, exports.MEMBERSHIPS, limit=9),
        lambda members, group: drained(members.export(group, exports.MEMBERSHIPS)),
        lambda members, group: members.count(group),
        lambda members, group: members.list_nested(group, limit=9),
        lambda members, group: drained(members.export_nested(group, exports.MEMBERS)),
        lambda members, group: members.put(group, ALICE),
        lambda members, group: members.remove(group, ALICE),
        lambda members, group: members.change(group, add={ALICE: {}}),
    ],
)
async def test_the_members_of_a_deleted_or_unknown_group_are_not_found(
    memberships: MembershipService,
    groups: GroupService,
    engineers: Group,
    call: Callable[[MembershipService, int], Awaitable[Any]],
) -> None:
    await memberships.put(engineers.id, ALICE)
    with pytest.raises(NotFound):
        await call(memberships, NOBODY)
    await groups.delete(engineers.id)
    with pytest.raises(Gone):
        await call(memberships, engineers.id)


async def test_members_are_counted_up_to_a_bound(memberships: MembershipService, engineers: Group) -> None:
    await memberships.change(engineers.id, add={ALICE: {"role": "lead"}, BOB: {}})
    lead = parse_filter('role eq "lead"', FIELDS)
    assert await memberships.count(engineers.id) == 2
    assert await memberships.count(engineers.id, most=1) == 1
    assert await memberships.count(engineers.id, lead) == 1

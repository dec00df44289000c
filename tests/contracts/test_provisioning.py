"""Groups together with their members, on memory, SQLite and PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from domain.errors import Conflict, Invalid, NotFound, Stale
from domain.groups import Group, NewGroup
from domain.nestings import Cycle
from domain.provisioning import MembersPatch
from domain.references import Subject
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from services.groups import GroupService
from services.memberships import MembershipService
from services.provisioning import ProvisioningService
from services.users import UserService


@pytest.fixture
def provisioning(units: UnitsOfWork, context: RequestContext) -> ProvisioningService:
    return ProvisioningService(units, context)


@pytest.fixture
async def people(users: UserService) -> list[int]:
    return [(await users.create(NewUser(name=f"u{number}"))).result.id for number in range(5)]


def of(*ids: int, kind: str = "user") -> set[Subject]:
    return {(kind, id) for id in ids}


def same(group: Group) -> Group:
    return group


async def members(provisioning: ProvisioningService, id: int) -> Sequence[Subject]:
    found = (await provisioning.get(id)).members
    assert found is not None
    return list(found)


async def test_a_group_is_created_with_users_and_groups(provisioning: ProvisioningService, people: list[int]) -> None:
    inner = (await provisioning.create(NewGroup(name="inner"), of(people[1]))).result
    outer = (
        await provisioning.create(NewGroup(name="outer"), of(people[2], people[0]) | of(inner.id, kind="group"))
    ).result
    assert await members(provisioning, outer.id) == [("user", people[0]), ("user", people[2]), ("group", inner.id)]
    assert (await provisioning.get(outer.id, members=False)).members is None
    both = await provisioning.with_members([outer, inner], members=True)
    assert [each.members for each in both] == [
        await members(provisioning, outer.id), await members(provisioning, inner.id),
    ]  # fmt: skip


async def test_members_are_added_removed_and_replaced_by_the_difference(
    provisioning: ProvisioningService, people: list[int]
) -> None:
    a, b, c, d, _ = people
    group = (await provisioning.create(NewGroup(name="g"), of(a, b))).result
    for patch, expected in (
        (MembersPatch(add=of(b, c), remove=of(a, d)), [b, c]),
        (MembersPatch(add=of(a, c), replaces=True), [a, c]),
        (MembersPatch(add=of(b), matching=(lambda member: member in of(c, d),)), [a, b]),
        (MembersPatch(replaces=True), []),
        (MembersPatch(add=of(d)), [d]),
    ):
        committed = await provisioning.change(group.id, same, patch)
        assert [id for _, id in await members(provisioning, group.id)] == expected
        assert committed.seq == (await provisioning.get(group.id)).revision
        again = await provisioning.change(group.id, same, patch)
        assert again.seq is None, "the same again changes nothing"


async def test_a_refused_change_of_a_group_changes_nothing(
    provisioning: ProvisioningService, people: list[int]
) -> None:
    group = (await provisioning.create(NewGroup(name="g"), of(people[0]))).result
    for patch, refusal in ((of(10**6), Invalid), (of(group.id, kind="group"), Cycle), (of(99, kind="group"), Invalid)):
        with pytest.raises(refusal):
            await provisioning.change(
                group.id, lambda group: group.revised(name="h"), MembersPatch(add=patch | of(people[1]))
            )
        found = await provisioning.get(group.id)
        assert (found.group.name, found.members) == ("g", [("user", people[0])])
    with pytest.raises(NotFound):
        await provisioning.change(999, same, MembersPatch())
    with pytest.raises(Conflict):
        await provisioning.create(NewGroup(name="G"))


async def test_the_revision_is_the_last_change_of_the_group_or_of_its_members(
    provisioning: ProvisioningService,
    units: UnitsOfWork,
    context: RequestContext,
    users: UserService,
    people: list[int],
) -> None:
    a, b, *_ = people
    seen: list[int] = []

    async def look() -> None:
        found = await provisioning.get(group.id)
        async with units.reading() as work:
            last = await work.changes.last_about("group", [group.id, 999])
            (_, at) = last[group.id]
        assert last.keys() == {group.id}
        assert (found.revision, found.changed_at) == (last[group.id][0], at)
        seen.append(found.revision)

    group = (await provisioning.create(NewGroup(name="g"), of(a))).result
    await look()
    await GroupService(units, context).patch(group.id, {"name": "h"})
    await look()
    await MembershipService(units, context).put(group.id, b)
    await look()
    await users.delete(a)
    await look()
    await users.patch(b, {"name": "B"})  # about the user alone
    await look()
    assert seen[:4] == sorted(set(seen))
    assert seen[3] == seen[4]
    with pytest.raises(Stale):
        await provisioning.change(group.id, same, MembersPatch(replaces=True), expected=seen[:3])
    with pytest.raises(Stale):
        await provisioning.delete(group.id, expected=seen[:3])
    await provisioning.change(group.id, same, MembersPatch(replaces=True), expected=[seen[4]])
    await provisioning.delete(group.id, expected=[(await provisioning.get(group.id)).revision])


async def test_a_group_without_kept_changes_has_the_revision_of_the_last_removed_change(
    units: UnitsOfWork, context: RequestContext, provisioning: ProvisioningService, people: list[int]
) -> None:
    old = (await provisioning.create(NewGroup(name="old"), of(*people[:2]))).result
    new = (await provisioning.create(NewGroup(name="new"))).result
    async with units.writing(context) as work:
        last = await work.changes.last()
        await work.changes.trim(before=datetime(2999, 1, 1, tzinfo=UTC), up_to=last - 1, limit=1000)
        await work.commit(None)
    found = await provisioning.get(old.id)
    assert (found.revision, found.changed_at, len(found.members or ())) == (last - 1, old.updated_at, 2)
    assert [each.revision for each in await provisioning.with_members([old, new], members=False)] == [last - 1, last]
    with pytest.raises(Stale):
        await provisioning.change(old.id, same, MembersPatch(replaces=True), expected=[last])
    changed = await provisioning.change(old.id, same, MembersPatch(replaces=True), expected=[last - 1])
    assert changed.seq == (await provisioning.get(old.id)).revision == last + 2


async def test_groups_of_returns_the_groups_of_many_users_without_deleted_ones(
    provisioning: ProvisioningService, people: list[int]
) -> None:
    a, b, c, *_ = people
    ids = [(await provisioning.create(NewGroup(name=name), of(a, b))).result.id for name in "xyz"]
    await provisioning.delete(ids[1])
    await provisioning.change(ids[2], same, MembersPatch(remove=of(b)))
    found = await provisioning.groups_of([a, b, c, 999])
    assert {id: [group.name for group in groups] for id, groups in found.items()} == {a: ["x", "z"], b: ["x"]}
    assert await provisioning.groups_of([]) == {}


async def test_a_list_can_skip_the_first_groups(provisioning: ProvisioningService) -> None:
    for name in "abcd":
        await provisioning.create(NewGroup(name=name))
    page = await provisioning.list(skip=1, limit=2)
    assert ([group.name for group in page.items], page.more) == (["b", "c"], True)
    assert await provisioning.count() == 4


async def test_a_deleted_member_is_not_shown(
    provisioning: ProvisioningService, users: UserService, people: list[int]
) -> None:
    inner = (await provisioning.create(NewGroup(name="inner"))).result
    group = (await provisioning.create(NewGroup(name="g"), of(*people[:2]) | of(inner.id, kind="group"))).result
    await users.delete(people[0])
    await provisioning.delete(inner.id)
    assert await members(provisioning, group.id) == [("user", people[1])]
    await users.restore(people[0])
    assert await members(provisioning, group.id) == [("user", people[0]), ("user", people[1])]

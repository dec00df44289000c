"""Groups together with their members, as SCIM uses them."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Gone, Invalid, NotFound, Stale
from domain.groups import FIELDS, Group, NewGroup
from domain.lists.pages import parse_sort
from domain.lists.terms import parse_filter
from domain.nestings import Cycle
from domain.provisioning import MembersPatch
from domain.references import Subject
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitOfWork, MemoryUnitsOfWork
from services.changes import ChangeService
from services.groups import GroupService
from services.memberships import MembershipService
from services.provisioning import ProvisioningService, change_members
from services.users import UserService

ALICE: Subject = ("user", 1)
BOB: Subject = ("user", 2)
CAROL: Subject = ("user", 3)
PARTS: Subject = ("group", 1)
NOTHING = MembersPatch()


@pytest.fixture
def provisioning(units: MemoryUnitsOfWork, context: RequestContext) -> ProvisioningService:
    return ProvisioningService(units, context)


@pytest.fixture(autouse=True)
async def people(users: UserService, groups: GroupService) -> None:
    """Alice, Bob and Carol, and a group that can be nested in others."""
    for name in ("Alice", "Bob", "Carol"):
        await users.create(NewUser(name=name))
    await groups.create(NewGroup(name="Parts"))


async def members(provisioning: ProvisioningService, id: int) -> set[Subject]:
    return {*((await provisioning.get(id)).members or ())}


async def test_creates_a_group_with_its_members(provisioning: ProvisioningService) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE, BOB, PARTS})).result
    whole = await provisioning.get(group.id)
    assert (whole.group, [*(whole.members or ())]) == (group, [ALICE, BOB, PARTS])
    assert (await provisioning.get(group.id, members=False)).members is None


async def test_a_group_with_a_missing_member_is_not_created(provisioning: ProvisioningService) -> None:
    for nobody in (("user", 9), ("group", 9)):
        with pytest.raises(Invalid):
            await provisioning.create(NewGroup(name="Engineers"), {nobody})
    assert len(await provisioning.list(limit=9)) == 1


async def test_a_change_of_members_changes_nothing_else(
    provisioning: ProvisioningService, changes: ChangeService
) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE, PARTS})).result
    before = len((await changes.list(since=0, limit=99)).changes)

    async def change(patch: MembersPatch) -> set[Subject]:
        committed = await provisioning.change(group.id, lambda same: same, patch)
        assert committed.result == group
        return await members(provisioning, group.id)

    assert await change(MembersPatch(add={BOB})) == {ALICE, BOB, PARTS}
    assert await change(MembersPatch(add={BOB}, remove={ALICE, PARTS, CAROL})) == {BOB}
    assert await change(MembersPatch(add={PARTS, CAROL}, replaces=True)) == {CAROL, PARTS}
    assert await change(MembersPatch(matching=(lambda member: member == CAROL,))) == {PARTS}
    assert await change(MembersPatch(replaces=True)) == set()
    assert len((await changes.list(since=0, limit=99)).changes) == before + 8


async def test_a_change_without_a_difference_writes_nothing(provisioning: ProvisioningService) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE, PARTS})).result
    for patch in (
        NOTHING,
        MembersPatch(add={ALICE, PARTS}),
        MembersPatch(remove={BOB}),
        MembersPatch(add={ALICE, PARTS}, replaces=True),
        MembersPatch(matching=(lambda member: member == BOB,)),
    ):
        assert (await provisioning.change(group.id, lambda same: same, patch)).seq is None


async def test_a_change_of_members_reports_whether_it_changed_anything(
    provisioning: ProvisioningService, units: MemoryUnitsOfWork, context: RequestContext
) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE, PARTS})).result
    async with units.writing(context) as work:
        for patch in (NOTHING, MembersPatch(add={ALICE}), MembersPatch(add={PARTS}), MembersPatch(remove={BOB})):
            assert await change_members(work, group, patch) is False
        for patch in (MembersPatch(add={BOB}), MembersPatch(remove={PARTS}), MembersPatch(replaces=True)):
            assert await change_members(work, group, patch) is True


class Locks(MemoryUnitsOfWork):
    """Notes how groups are locked: shared by `hold`, exclusively by `get`."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[MemoryUnitOfWork]:
        async with super().writing(context) as work:
            groups: Any = work.groups
            hold, get = groups.hold, groups.get

            async def held(id: int) -> Group:
                group: Group = await hold(id)
                self.taken = ["shared"]
                return group

            async def got(id: int) -> Group:
                self.taken.append("exclusive")
                group: Group = await get(id)
                return group

            groups.hold, groups.get = held, got
            yield work


async def test_only_a_change_of_the_group_itself_keeps_others_from_changing_its_members(
    context: RequestContext,
) -> None:
    units = Locks()
    provisioning = ProvisioningService(units, context)
    await provisioning.create(NewGroup(name="Engineers"))

    async def locks(name: str, expected: Collection[int] | None = None) -> list[str]:
        await provisioning.change(1, lambda group: group.revised(name=name), NOTHING, expected=expected)
        return units.taken

    assert await locks("Engineers") == ["shared"]
    assert await locks("Engineers", expected={1}) == ["shared", "exclusive"]
    assert await locks("Makers") == ["shared", "exclusive"]


async def test_changes_the_group_beside_its_members(provisioning: ProvisioningService) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE})).result
    revised = (await provisioning.change(group.id, lambda old: old.revised(name="Makers"), NOTHING)).result
    assert (revised.name, revised.version) == ("Makers", 2)
    both = (await provisioning.change(group.id, lambda old: old.revised(name="Coders"), MembersPatch(add={BOB}))).result
    assert (both.name, await members(provisioning, group.id)) == ("Coders", {ALICE, BOB})


async def test_a_revision_includes_changes_of_members(provisioning: ProvisioningService) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {ALICE})).result
    old = (await provisioning.get(group.id)).revision
    await provisioning.change(group.id, lambda same: same, MembersPatch(add={BOB}), expected=[old])
    new = (await provisioning.get(group.id)).revision
    assert new > old
    with pytest.raises(Stale):
        await provisioning.change(group.id, lambda same: same, MembersPatch(add={CAROL}), expected=[old])
    with pytest.raises(Stale):
        await provisioning.delete(group.id, expected=[old])
    assert await members(provisioning, group.id) == {ALICE, BOB}
    await provisioning.delete(group.id, expected=[new])
    with pytest.raises(Gone):
        await provisioning.get(group.id)


async def test_a_cycle_of_groups_is_refused(provisioning: ProvisioningService) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), {PARTS})).result
    with pytest.raises(Cycle):
        await provisioning.change(PARTS[1], lambda same: same, MembersPatch(add={("group", group.id)}))


async def test_an_unknown_group_is_not_found(provisioning: ProvisioningService) -> None:
    for attempt in (
        provisioning.get(9),
        provisioning.delete(9),
        provisioning.change(9, lambda same: same, MembersPatch(add={ALICE})),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_lists_and_counts_groups(provisioning: ProvisioningService) -> None:
    for name in ("Engineers", "Makers"):
        await provisioning.create(NewGroup(name=name), {ALICE})
    wanted, by_name = parse_filter('name co "er"', FIELDS), parse_sort("-name", FIELDS)
    first = await provisioning.list(filter=wanted, sort=by_name, limit=1)
    assert ([each.name for each in first], first.more) == (["Makers"], True)
    rest = await provisioning.list(filter=wanted, sort=by_name, after=by_name.position(first.items[-1]), limit=9)
    assert [each.name for each in rest] == ["Engineers"]
    skipped = await provisioning.list(filter=wanted, sort=by_name, skip=1, limit=9)
    assert [each.name for each in skipped] == ["Engineers"]
    assert (await provisioning.count(), await provisioning.count(wanted)) == (3, 2)


async def test_shows_many_groups_with_their_members(provisioning: ProvisioningService) -> None:
    for name, inside in (("Engineers", {ALICE, PARTS}), ("Makers", {BOB})):
        await provisioning.create(NewGroup(name=name), inside)
    listed = await provisioning.list(limit=9)
    shown = await provisioning.with_members(listed.items, members=True)
    assert [[*(each.members or ())] for each in shown] == [[], [ALICE, PARTS], [BOB]]
    assert all(each.members is None for each in await provisioning.with_members(listed.items, members=False))


async def test_groups_of_returns_the_groups_of_many_users(
    provisioning: ProvisioningService, memberships: MembershipService
) -> None:
    for name in ("Engineers", "Makers"):
        await provisioning.create(NewGroup(name=name), {ALICE})
    await memberships.put(1, 1)
    found = await provisioning.groups_of([1, 2])
    assert {id: [each.name for each in groups] for id, groups in found.items()} == {1: ["Parts", "Engineers", "Makers"]}


async def test_a_group_has_a_revision_after_its_changes_were_removed(
    provisioning: ProvisioningService, units: MemoryUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    group = (await provisioning.create(NewGroup(name="Engineers"), set())).result
    made = (await provisioning.get(group.id)).revision
    await users.create(NewUser(name="Dora"))
    async with units.writing(context) as work:
        await work.changes.trim(before=work.now + timedelta(days=1), up_to=made, limit=99)
        await work.commit(None)

    whole = await provisioning.get(group.id)
    assert (whole.revision, whole.changed_at) == (made, group.updated_at)
    await provisioning.change(group.id, lambda same: same, MembersPatch(add={ALICE}), expected=[made])

"""What can be done with groups."""

import pytest
from tests import exports

from domain.errors import Conflict, Gone, Invalid, NotFound, Stale
from domain.groups import FIELDS, NewGroup
from domain.keys import Scope
from domain.lists.pages import parse_sort
from domain.lists.terms import parse_filter
from domain.nestings import Cycle
from domain.users import NewUser
from domain.versions import NOT_THERE
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.changes import ChangeService
from services.groups import GroupService
from services.memberships import MembershipService
from services.operations import scopes_of
from services.users import UserService


async def test_creates_a_group(groups: GroupService) -> None:
    created = (await groups.create(NewGroup(name="Engineers", description="Who builds it"))).result
    assert (created.id, created.name, created.description, created.version) == (1, "Engineers", "Who builds it", 1)
    assert await groups.get(created.id) == created


async def test_an_unknown_group_is_not_found(groups: GroupService) -> None:
    for attempt in (groups.get(1), groups.patch(1, {}), groups.delete(1), groups.restore(1), groups.purge(1)):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        await groups.find("name", "nobody")


async def test_patches_a_group(groups: GroupService, changes: ChangeService) -> None:
    made = (await groups.create(NewGroup(name="Engineers", description="x", attributes={"a": 1, "b": 2}))).result
    patched = (await groups.patch(made.id, {"name": "Makers", "description": None, "attributes": {"a": None}})).result
    assert (patched.name, patched.description, patched.attributes, patched.version) == ("Makers", None, {"b": 2}, 2)
    assert await groups.get(made.id) == patched
    assert (await groups.patch(made.id, {"name": " Makers "})).seq is None
    assert len((await changes.list(since=0, limit=9)).changes) == 2
    with pytest.raises(Invalid):
        await groups.patch(made.id, {"name": " "})
    with pytest.raises(Stale):
        await groups.patch(made.id, {"name": "Late"}, expected=[1])


async def test_puts_a_group_by_its_external_id(groups: GroupService) -> None:
    first, is_new = (await groups.put(NewGroup(name="Engineers", external_id="e", description="x"))).result
    assert is_new
    second = await groups.put(NewGroup(name="Makers", external_id="e"))
    replaced, is_new = second.result
    assert (replaced.id, replaced.name, replaced.description, is_new) == (first.id, "Makers", None, False)
    assert (await groups.put(NewGroup(name="Makers", external_id="e"))).seq is None
    with pytest.raises(Stale):
        await groups.put(NewGroup(name="Late", external_id="e"), expected=[1])
    with pytest.raises(Stale):
        await groups.put(NewGroup(name="Only new", external_id="e"), unwanted=[replaced.version])
    with pytest.raises(Stale):
        await groups.put(NewGroup(name="Not there", external_id="f"), expected=[1])
    assert (await groups.put(NewGroup(name="New", external_id="f"), expected=[NOT_THERE])).result[1]
    with pytest.raises(Conflict) as refused:
        await groups.put(NewGroup(name="MAKERS", external_id="g"))
    assert refused.value.field == "name"
    with pytest.raises(ValueError, match="external id"):
        await groups.put(NewGroup(name="None"))


async def test_a_deleted_group_is_gone_until_it_is_restored(groups: GroupService) -> None:
    made = (await groups.create(NewGroup(name="Engineers", external_id="e"))).result
    with pytest.raises(Stale):
        await groups.delete(made.id, expected=[7])
    await groups.delete(made.id)
    for attempt in (groups.get(made.id), groups.patch(made.id, {}), groups.delete(made.id)):
        with pytest.raises(Gone):
            await attempt
    assert (await groups.list(limit=9)).items == []
    other = (await groups.create(NewGroup(name="Others", external_id="e"))).result
    with pytest.raises(Conflict) as refused:
        await groups.restore(made.id)
    assert refused.value.field == "external_id"
    await groups.purge(other.id)
    restored = (await groups.restore(made.id)).result
    assert (restored.version, restored.deleted_at) == (3, None)
    assert (await groups.restore(made.id)).seq is None


async def test_erases_a_group_and_its_values(groups: GroupService, changes: ChangeService) -> None:
    made = (await groups.create(NewGroup(name="Secret"))).result
    with pytest.raises(Stale):
        await groups.purge(made.id, expected=[7])
    await groups.purge(made.id)
    with pytest.raises(NotFound):
        await groups.get(made.id)
    assert "Secret" not in repr((await changes.list(since=0, limit=9)).changes)


async def test_lists_groups_in_pages_sorted_filtered_counted_and_whole(groups: GroupService) -> None:
    names = ["c", "A", "b", "d"]
    for name in names:
        await groups.create(NewGroup(name=name))
    sort, filter = parse_sort("name", FIELDS), parse_filter('name ne "d"', FIELDS)
    first = await groups.list(filter=filter, sort=sort, limit=2)
    rest = await groups.list(filter=filter, sort=sort, after=sort.position(first.items[-1]), limit=2)
    assert [each.name for each in (*first.items, *rest.items)] == ["A", "b", "c"]
    assert (first.more, rest.more) == (True, False)
    assert (await groups.count(), await groups.count(filter)) == (4, 3)
    whole = await exports.everything(groups.export(exports.GROUPS, filter=filter, sort=sort))
    assert [each.name for each in whole] == ["A", "b", "c"]


async def test_lists_the_groups_of_a_user(
    groups: GroupService, users: UserService, memberships: MembershipService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    made = [(await groups.create(NewGroup(name=name))).result for name in ("c", "A", "b")]
    for group in made[:2]:
        await memberships.put(group.id, alice.id)
    sort = parse_sort("name", FIELDS)
    page = await groups.list_of_user(alice.id, sort=sort, limit=1)
    assert (page.items, page.more) == ([made[1]], True)
    rest = await groups.list_of_user(alice.id, sort=sort, after=sort.position(made[1]), limit=1)
    assert (rest.items, rest.more) == ([made[0]], False)
    only = await groups.list_of_user(alice.id, filter=parse_filter('name eq "c"', FIELDS), limit=9)
    assert only.items == [made[0]]
    await users.delete(alice.id)
    with pytest.raises(Gone):
        await groups.list_of_user(alice.id, limit=9)


async def test_a_dry_run_stores_nothing(units: MemoryUnitsOfWork, groups: GroupService) -> None:
    dry = GroupService(units, RequestContext(actor="t", request_id="r", dry_run=True))
    assert (await dry.create(NewGroup(name="Engineers"))).result.id == 1
    assert (await groups.list(limit=9)).items == []


def test_erasing_a_group_needs_the_scope_for_erasures() -> None:
    assert scopes_of(GroupService.purge) == (Scope.GROUPS_WRITE, Scope.USERS_PURGE)


async def test_a_group_can_be_nested_in_another_one(groups: GroupService) -> None:
    for name in ("Whole", "Part", "Piece"):
        await groups.create(NewGroup(name=name))
    assert (await groups.nest(1, 2)).seq is not None
    assert (await groups.nest(1, 2)).seq is None
    await groups.nest(1, 3)
    await groups.nest(2, 3)
    for outer, inner in ((3, 1), (2, 1), (1, 1)):
        with pytest.raises(Cycle):
            await groups.nest(outer, inner)
    first = await groups.list_children(1, limit=1)
    assert ([each.name for each in first], first.more) == (["Part"], True)
    rest = await groups.list_children(1, after=2, limit=1)
    assert ([each.name for each in rest], rest.more) == (["Piece"], False)

    assert (await groups.unnest(1, 2)).seq is not None
    assert (await groups.unnest(1, 2)).seq is None
    assert [each.name for each in await groups.list_children(1, limit=9)] == ["Piece"]


async def test_a_nesting_that_ended_while_its_part_was_deleted_is_not_restored_with_it(groups: GroupService) -> None:
    for name in ("Whole", "Part"):
        await groups.create(NewGroup(name=name))
    await groups.nest(1, 2)
    await groups.delete(2)
    assert (await groups.unnest(1, 2)).seq is not None
    await groups.restore(2)
    assert (await groups.list_children(1, limit=9)).items == []


async def test_nesting_needs_groups_that_exist(groups: GroupService) -> None:
    for name in ("Whole", "Gone"):
        await groups.create(NewGroup(name=name))
    await groups.delete(2)
    for id, refusal in ((2, Gone), (9, NotFound)):
        for attempt in (
            groups.nest(1, id),
            groups.nest(id, 1),
            groups.unnest(id, 1),
            groups.list_children(id, limit=9),
        ):
            with pytest.raises(refusal):
                await attempt


async def test_a_user_is_also_in_the_groups_around_its_groups(
    groups: GroupService, memberships: MembershipService, users: UserService
) -> None:
    for name in ("Whole", "Part"):
        await groups.create(NewGroup(name=name))
    await groups.nest(1, 2)
    await users.create(NewUser(name="Alice"))
    await memberships.put(2, 1)
    reached = await groups.list_reached(1, limit=9)
    assert [each.group.name for each in reached] == ["Whole", "Part"]
    first = await groups.list_reached(1, limit=1)
    assert ([each.group.name for each in first], first.more) == (["Whole"], True)
    assert [each.group.name for each in await groups.list_reached(1, after=1, limit=9)] == ["Part"]
    await users.delete(1)
    with pytest.raises(Gone):
        await groups.list_reached(1, limit=9)
    with pytest.raises(NotFound):
        await groups.list_reached(9, limit=9)

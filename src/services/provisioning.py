"""Operations on groups together with their members, for protocols in which members belong to the group, such as
SCIM."""

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from domain.groups import Group, NewGroup
from domain.idempotency import Committed
from domain.journal import differ
from domain.keys import Scope
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, Page, Position, Sort
from domain.memberships import NewMembership
from domain.nestings import NewNesting
from domain.provisioning import GroupWithMembers, MembersPatch
from domain.references import Subject
from domain.users import User
from domain.versions import Expected, require_version
from domain.work import ReadingUnit, RequestContext, UnitOfWork, UnitsOfWork
from services.operations import contended, operation


class ProvisioningService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @operation(Scope.GROUPS_READ)
    async def get(self, id: int, *, members: bool = True) -> GroupWithMembers:
        async with self.units.reading(self.context) as work:
            group = await work.groups.get(id)
            return (await with_members(work, [group], members=members))[0]

    @operation(Scope.GROUPS_READ)
    async def list(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Page[Group]:
        async with self.units.reading(self.context) as work:
            return await work.groups.page(filter=filter, sort=sort, after=after, skip=skip, limit=limit)

    @operation(Scope.GROUPS_READ)
    async def count(self, filter: Filter | None = None) -> int:
        async with self.units.reading(self.context) as work:
            return await work.groups.count(filter)

    @operation(Scope.GROUPS_READ)
    async def with_members(self, groups: Sequence[Group], *, members: bool) -> Sequence[GroupWithMembers]:
        """These groups with their revisions and, if asked for, their members. It takes a few statements for any number
        of groups."""
        async with self.units.reading(self.context) as work:
            return await with_members(work, groups, members=members)

    @operation(Scope.GROUPS_READ)
    async def groups_of(self, user_ids: Collection[int]) -> Mapping[int, Sequence[Group]]:
        """For each of these users, by id, the groups of which it is a direct member."""
        async with self.units.reading(self.context) as work:
            memberships = await work.memberships.of_users(user_ids)
            groups = {each.id: each for each in await work.groups.get_many({each.group_id for each in memberships})}
        found: dict[int, list[Group]] = {}
        for each in sorted(memberships, key=lambda each: each.group_id):
            found.setdefault(each.user_id, []).append(groups[each.group_id])
        return found

    @operation(Scope.GROUPS_WRITE)
    async def create(self, new: NewGroup, members: AbstractSet[Subject] = frozenset()) -> Committed[Group]:
        """Create a group with these members. Raises `Invalid` with a fault for each member that does not exist, and
        `Cycle`."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.add(new)
            await change_members(work, group, MembersPatch(add=members))
            return await work.commit(group)

    @operation(Scope.GROUPS_WRITE)
    async def change(
        self, id: int, change: Callable[[Group], Group], members: MembersPatch, *, expected: Expected = None
    ) -> Committed[Group]:
        """Apply a function to a group, and change its members. If nothing differs afterwards, nothing is written.

        `expected` are revisions. Raises what `create` raises, and `Stale`.
        """
        async with self.units.writing(self.context) as work:
            before = await work.groups.hold(id)
            if expected is not None or differ(before, change(before)):
                before = await work.groups.get(id)  # an exclusive lock
            await require_revision(work, before, expected)
            revised = change(before)
            after = await work.groups.save(revised) if differ(before, revised) else before
            has_changed = await change_members(work, before, members) or after is not before
            return await work.commit(after) if has_changed else Committed(before)

    @operation(Scope.GROUPS_WRITE)
    async def delete(self, id: int, *, expected: Expected = None) -> Committed[Group]:
        """Hide a group and free its name. `expected` are revisions."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(id)
            await require_revision(work, group, expected)
            deleted = await work.groups.save(group.deleted(work.now))
            return await work.commit(deleted)


async def with_members(work: ReadingUnit, groups: Sequence[Group], *, members: bool) -> Sequence[GroupWithMembers]:
    ids = [each.id for each in groups]
    last = await last_changes_of(work, groups)
    inside = await members_of(work, ids) if members else {}
    return [GroupWithMembers(each, *last[each.id], inside.get(each.id, ()) if members else None) for each in groups]


async def last_changes_of(work: ReadingUnit, groups: Sequence[Group]) -> Mapping[int, tuple[int, datetime]]:
    """The number and the time of the last change about each group or its members.

    If that change is no longer kept, the highest removed number is used instead. It is safe as a revision, because no
    client has seen this number with another state of the group.
    """
    last = await work.changes.last_about(Group.kind, [each.id for each in groups])
    if all(each.id in last for each in groups):
        return last
    oldest = await work.changes.list(limit=1)
    removed = oldest[0].seq - 1 if oldest else await work.changes.last()
    return {each.id: last.get(each.id, (removed, each.updated_at)) for each in groups}


async def require_revision(work: UnitOfWork, group: Group, expected: Expected) -> None:
    """Raises `Stale` if the number of the last change about a group is not expected."""
    if expected is not None:
        revision, _ = (await last_changes_of(work, [group]))[group.id]
        require_version(revision, expected)


async def members_of(work: ReadingUnit, ids: Collection[int]) -> Mapping[int, Sequence[Subject]]:
    found: dict[int, list[Subject]] = {}
    for membership in await work.memberships.of_groups(ids):
        found.setdefault(membership.group_id, []).append((User.kind, membership.user_id))
    for nesting in await work.nestings.of_groups(ids):
        found.setdefault(nesting.group_id, []).append((Group.kind, nesting.child_id))
    return found


async def change_members(work: UnitOfWork, group: Group, patch: MembersPatch) -> bool:
    """Add and remove members. Returns whether anything changed. Adding a member writes one row, whatever the size of
    the group."""
    if patch.is_empty:
        return False
    users = await change_users(work, group, patch)
    return await change_groups(work, group, patch) or users


async def change_users(work: UnitOfWork, group: Group, patch: MembersPatch) -> bool:
    wanted = ids_in(patch.add, User.kind)
    if patch.reads_all:
        found = await work.memberships.of_groups([group.id])
    else:
        found = await work.memberships.among(group.id, wanted | ids_in(patch.remove, User.kind))
    ended = [each for each in found if patch.removes((User.kind, each.user_id))]
    missing = sorted(wanted - {each.user_id for each in found})
    await work.memberships.end_many(ended)
    with contended():
        await work.memberships.add_many([NewMembership(group_id=group.id, user_id=id) for id in missing])
    return bool(ended or missing)


async def change_groups(work: UnitOfWork, group: Group, patch: MembersPatch) -> bool:
    wanted = ids_in(patch.add, Group.kind)
    if not (wanted or ids_in(patch.remove, Group.kind) or patch.reads_all):
        return False
    found = {each.child_id: each for each in await work.nestings.of_groups([group.id])}
    ended = [each for id, each in found.items() if patch.removes((Group.kind, id))]
    missing = sorted(wanted - found.keys())
    await work.nestings.end_many(ended)
    with contended():
        await work.nestings.add_many([NewNesting(group_id=group.id, child_id=id) for id in missing])
    return bool(ended or missing)


def ids_in(members: AbstractSet[Subject], kind: str) -> set[int]:
    return {id for each, id in members if each == kind}

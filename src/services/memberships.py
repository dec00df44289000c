"""Operations on the memberships of groups."""

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast

from domain.errors import Fault, Invalid, NotFound
from domain.idempotency import Committed
from domain.journal import differ
from domain.keys import Scope
from domain.lists.filters import Filter, equal, every
from domain.lists.pages import JsonPage, Page, Position, Sort
from domain.lists.projections import Projection
from domain.memberships import BY_USER, FIELDS, MembersChanged, Membership, NewMembership
from domain.nestings import Member
from domain.values import JsonObject
from domain.work import ReadingUnit, RequestContext, UnitsOfWork
from services.lists import in_pages
from services.operations import contended, operation, streaming

BOTH: Final = "Cannot be added and removed at once."


class MembershipService:
    """Every operation raises `Gone` if the group is deleted, and `NotFound` if there is no such group."""

    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @operation(Scope.GROUPS_READ)
    async def get(self, group_id: int, user_id: int) -> Membership:
        """The membership of a user in a group. Raises `NotFound` if the user is not a member."""
        async with self.units.reading(self.context) as work:
            await work.groups.get(group_id)
            found = await work.memberships.among(group_id, [user_id])
        if not found:
            raise NotFound("This user is not a member of this group.")
        return found[0]

    @operation(Scope.GROUPS_READ)
    async def list(
        self,
        group_id: int,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_USER,
        after: Position | None = None,
        limit: int,
    ) -> Page[Membership]:
        """The members of a group, sorted by their ids unless another sort is given."""
        async with self.units.reading(self.context) as work:
            await work.groups.get(group_id)
            return await work.memberships.page(filter=of_group(group_id, filter), sort=sort, after=after, limit=limit)

    @operation(Scope.GROUPS_READ)
    async def list_as_json(
        self,
        group_id: int,
        projection: Projection[Membership],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_USER,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        """The same as JSON, which costs a fraction of it."""
        async with self.units.reading(self.context) as work:
            await work.groups.get(group_id)
            its = of_group(group_id, filter)
            return await work.memberships.page_as_json(projection, filter=its, sort=sort, after=after, limit=limit)

    @streaming(Scope.GROUPS_READ)
    def export(
        self,
        group_id: int,
        projection: Projection[Membership],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_USER,
    ) -> AsyncGenerator[JsonPage]:
        """All members as JSON, as they were at one moment (see `in_pages`), in pages, of which there is at least
        one."""

        async def read(work: ReadingUnit, after: Position | None, limit: int) -> JsonPage:
            await work.groups.get(group_id)
            its = of_group(group_id, filter)
            return await work.memberships.page_as_json(projection, filter=its, sort=sort, after=after, limit=limit)

        return in_pages(self, read)

    @operation(Scope.GROUPS_READ)
    async def count(self, group_id: int, filter: Filter | None = None, *, most: int | None = None) -> int:
        async with self.units.reading(self.context) as work:
            await work.groups.get(group_id)
            return await work.memberships.count(of_group(group_id, filter), most=most)

    @operation(Scope.GROUPS_READ)
    async def list_nested(self, group_id: int, *, after: int = 0, limit: int) -> Page[Member]:
        """The members of a group and of all its parts. Each user is there once. They are sorted by their ids."""
        async with self.units.reading(self.context) as work:
            await work.groups.get(group_id)
            seq = await work.changes.last()
            return Page.of(await work.nestings.members(group_id, after=after, limit=limit + 1), limit, seq)

    @streaming(Scope.GROUPS_READ)
    def export_nested(self, group_id: int, projection: Projection[Member]) -> AsyncGenerator[JsonPage]:
        """The same for all members as JSON, as they were at one moment (see `in_pages`), in pages, of which there is at
        least one."""

        async def read(work: ReadingUnit, after: Position | None, limit: int) -> JsonPage:
            await work.groups.get(group_id)
            seq = await work.changes.last()
            (last,) = BY_USER.keys_at(after or (0,))
            found = await work.nestings.members(group_id, after=cast("int", last), limit=limit + 1)
            return projection.page(Page.of(found, limit, seq), BY_USER)

        return in_pages(self, read)

    @operation(Scope.GROUPS_WRITE)
    async def put(self, group_id: int, user_id: int, given: JsonObject | None = None) -> Committed[Membership]:
        """Make a user a member. Fields of the membership that are not `given` (its `role`) stay unchanged.

        Raises `NotFound` and `Gone` for the user too.
        """
        given = given or {}
        async with self.units.writing(self.context) as work:
            await work.groups.hold(group_id)
            await work.users.hold(user_id)
            kept = await work.memberships.among(group_id, [user_id])
            if not kept:
                with contended():
                    added = await work.memberships.add(membership(group_id, user_id, given))
                return await work.commit(added)
            if not differ(kept[0], revised := kept[0].revised(**given)):
                return Committed(kept[0])
            saved = await work.memberships.save(revised)
            return await work.commit(saved)

    @operation(Scope.GROUPS_WRITE)
    async def remove(self, group_id: int, user_id: int) -> Committed[None]:
        """End a membership, if there is one. If the user is deleted, the membership will not return with a
        restoration."""
        async with self.units.writing(self.context) as work:
            await work.groups.hold(group_id)
            kept = await work.memberships.among(group_id, [user_id], hidden=True)
            if not kept:
                return Committed(None)
            await work.memberships.end(kept[0])
            return await work.commit(None)

    @operation(Scope.GROUPS_WRITE)
    async def change(
        self, group_id: int, *, add: Mapping[int, JsonObject], remove: Collection[int] = ()
    ) -> Committed[MembersChanged]:
        """Add and remove many members, all or none. Each is added as by `put` and removed as by `remove`.

        Raises `Invalid` with a fault at `/add/{n}`, counted from 0, for each user that does not exist or is deleted,
        and at `/remove/{n}` for each user that is in `add` too.
        """
        new = new_members(group_id, add, remove)
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(group_id)  # an exclusive lock: other batches on this group wait
            found = await work.memberships.among(group_id, [*new, *remove], hidden=True)
            kept = {each.user_id: each for each in found}
            members = {id for id in new if id in kept and not kept[id].is_hidden}
            revised = [kept[id].revised(**add[id]) for id in members]
            changed = [each for each in revised if differ(kept[each.user_id], each)]
            removed = [kept[id] for id in dict.fromkeys(remove) if id in kept]
            with pointing_to(new, members):
                added = await work.memberships.add_many([each for id, each in new.items() if id not in members])
            await work.memberships.save_many(changed)
            await work.memberships.end_many(removed)
            result = MembersChanged(group, added=len(added), changed=len(changed), removed=len(removed))
            return await work.commit(result)


def of_group(group_id: int, filter: Filter | None) -> Filter | None:
    return every([equal(FIELDS["group_id"], group_id), filter])


def membership(group_id: int, user_id: int, given: JsonObject) -> NewMembership:
    profile: Any = {"role": None, **given}
    return NewMembership(group_id=group_id, user_id=user_id, **profile)


def new_members(group_id: int, add: Mapping[int, JsonObject], remove: Collection[int]) -> Mapping[int, NewMembership]:
    """The memberships to add if nobody is a member yet. Raises `Invalid` with every fault that can be found without a
    store."""
    new, faults = {}, [Fault(f"/remove/{n}", "not_allowed", BOTH) for n, id in enumerate(remove) if id in add]
    for number, (id, given) in enumerate(add.items()):
        try:
            new[id] = membership(group_id, id, given)
        except Invalid as refused:
            faults += [replace(fault, pointer=f"/add/{number}{fault.pointer}") for fault in refused.faults]
    if faults:
        raise Invalid(faults)
    return new


@contextmanager
def pointing_to(new: Mapping[int, NewMembership], members: Collection[int]) -> Iterator[None]:
    """Translates the pointers of faults from the index among new members to the index in the request."""
    try:
        yield
    except Invalid as refused:
        places = [number for number, id in enumerate(new) if id not in members]
        raise Invalid([replace(each, pointer=f"/add/{places[number_in(each)]}") for each in refused.faults]) from None


def number_in(fault: Fault) -> int:
    return int(fault.pointer.split("/")[1])

"""Operations on groups. Operations on their members are in `services.memberships`."""

from collections.abc import AsyncGenerator, Collection

from domain.errors import Conflict
from domain.groups import MEMBERS, Group, NewGroup
from domain.idempotency import Committed
from domain.journal import differ
from domain.keys import Scope
from domain.lists.filters import Filter, equal, every
from domain.lists.pages import BY_ID, JsonPage, Page, Position, Sort
from domain.lists.projections import Projection
from domain.nestings import NewNesting, Reached
from domain.stores import Hidden
from domain.values import JsonObject
from domain.versions import NOT_THERE, Expected, require_version
from domain.work import ReadingUnit, RequestContext, UnitsOfWork
from services.lists import in_pages
from services.operations import contended, operation, retry, streaming


class GroupService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @operation(Scope.GROUPS_WRITE)
    async def create(self, new: NewGroup) -> Committed[Group]:
        async with self.units.writing(self.context) as work:
            group = await work.groups.add(new)
            return await work.commit(group)

    @operation(Scope.GROUPS_READ)
    async def get(self, id: int) -> Group:
        async with self.units.reading(self.context) as work:
            return await work.groups.get(id)

    @operation(Scope.GROUPS_READ)
    async def find(self, field: str, value: str) -> Group:
        """The group with this name or external id."""
        async with self.units.reading(self.context) as work:
            return await work.groups.find(field, value)

    @operation(Scope.GROUPS_READ)
    async def list(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Page[Group]:
        async with self.units.reading(self.context) as work:
            return await work.groups.page(filter=filter, sort=sort, hidden=hidden, after=after, skip=skip, limit=limit)

    @operation(Scope.GROUPS_READ)
    async def list_as_json(
        self,
        projection: Projection[Group],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        """The same as JSON, which costs a fraction of it."""
        async with self.units.reading(self.context) as work:
            return await work.groups.page_as_json(
                projection, filter=filter, sort=sort, hidden=hidden, after=after, limit=limit
            )

    @streaming(Scope.GROUPS_READ)
    def export(
        self,
        projection: Projection[Group],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
    ) -> AsyncGenerator[JsonPage]:
        """The whole list as JSON, as it was at one moment, in one page or more (see `in_pages`)."""

        async def read(work: ReadingUnit, after: Position | None, limit: int) -> JsonPage:
            return await work.groups.page_as_json(
                projection, filter=filter, sort=sort, hidden=hidden, after=after, limit=limit
            )

        return in_pages(self, read)

    @operation(Scope.GROUPS_READ)
    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        async with self.units.reading(self.context) as work:
            return await work.groups.count(filter, hidden=hidden, most=most)

    @operation(Scope.GROUPS_WRITE, retries=False)
    async def put(
        self, new: NewGroup, *, expected: Expected = None, unwanted: Collection[int] = ()
    ) -> Committed[tuple[Group, bool]]:
        """Create the group with this external id, or replace its profile. Returns it, and whether it was created.

        Raises `Stale` if its version is not expected, or if it is unwanted. A group that does not exist has the version
        `NOT_THERE`.
        """
        if new.external_id is None:
            raise ValueError("Only a group with an external id can be put.")
        try:
            return await self._put(new, new.external_id, expected, unwanted)
        except Conflict:  # another request may just have created this group: then replace it
            return await self._put(new, new.external_id, expected, unwanted)

    @retry
    async def _put(
        self, new: NewGroup, external_id: str, expected: Expected, unwanted: Collection[int]
    ) -> Committed[tuple[Group, bool]]:
        async with self.units.writing(self.context) as work:
            group = (await work.groups.find_many("external_id", [external_id])).get(external_id)
            require_version(NOT_THERE if group is None else group.version, expected, unwanted)
            if group is None:
                created = await work.groups.add(new)
                return await work.commit((created, True))
            replaced = group.replaced(new)
            if not differ(group, replaced):
                return Committed((group, False))
            saved = await work.groups.save(replaced)
            return await work.commit((saved, False))

    @operation(Scope.GROUPS_WRITE)
    async def patch(self, id: int, patch: JsonObject, *, expected: Expected = None) -> Committed[Group]:
        """Apply a JSON merge patch. A patch that changes nothing writes nothing."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(id)
            require_version(group.version, expected)
            patched = group.patched(patch)
            if not differ(group, patched):
                return Committed(group)
            saved = await work.groups.save(patched)
            return await work.commit(saved)

    @operation(Scope.GROUPS_WRITE)
    async def delete(self, id: int, *, expected: Expected = None) -> Committed[Group]:
        """Hide a group and free its name and external id. It can be restored, with its members."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(id)
            require_version(group.version, expected)
            deleted = await work.groups.save(group.deleted(work.now))
            return await work.commit(deleted)

    @operation(Scope.GROUPS_WRITE)
    async def restore(self, id: int) -> Committed[Group]:
        """Restore a deleted group. Raises `Conflict` if another group has one of its unique values now."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(id, hidden=True)
            if not group.is_hidden:
                return Committed(group)
            restored = await work.groups.save(group.restored())
            return await work.commit(restored)

    @operation(Scope.GROUPS_WRITE, Scope.USERS_PURGE)
    async def purge(self, id: int, *, expected: Expected = None) -> Committed[None]:
        """Erase a group, even if it is deleted, and its values in older changes. Its memberships end."""
        async with self.units.writing(self.context) as work:
            group = await work.groups.get(id, hidden=True)
            require_version(group.version, expected)
            await work.groups.remove(group)
            return await work.commit(None)

    @operation(Scope.GROUPS_READ)
    async def list_of_user(
        self,
        user_id: int,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        after: Position | None = None,
        limit: int,
    ) -> Page[Group]:
        """The groups that a user is a member of."""
        async with self.units.reading(self.context) as work:
            await work.users.get(user_id)
            its = every([equal(MEMBERS, user_id), filter])
            return await work.groups.page(filter=its, sort=sort, hidden=Hidden.NO, after=after, limit=limit)

    @operation(Scope.GROUPS_READ)
    async def list_reached(self, user_id: int, *, after: int = 0, limit: int) -> Page[Reached]:
        """The groups that a user is in, directly or through parts, sorted by id."""
        async with self.units.reading(self.context) as work:
            await work.users.get(user_id)
            seq = await work.changes.last()
            return Page.of(await work.nestings.groups_of(user_id, after=after, limit=limit + 1), limit, seq)

    @operation(Scope.GROUPS_READ)
    async def list_children(self, id: int, *, after: int = 0, limit: int) -> Page[Group]:
        """The direct parts of a group, sorted by id."""
        async with self.units.reading(self.context) as work:
            await work.groups.get(id)
            seq = await work.changes.last()
            return Page.of(await work.nestings.children(id, after=after, limit=limit + 1), limit, seq)

    @operation(Scope.GROUPS_WRITE)
    async def nest(self, id: int, child_id: int) -> Committed[None]:
        """Make the child a part of the group. Raises `Cycle` if the group is a part of the child, or if they are the
        same.

        Raises `NotFound` and `Gone` for either of them.
        """
        async with self.units.writing(self.context) as work:
            for each in sorted({id, child_id}):
                await work.groups.hold(each)
            if await work.nestings.between(id, child_id):
                return Committed(None)
            with contended():
                await work.nestings.add(NewNesting(group_id=id, child_id=child_id))
            return await work.commit(None)

    @operation(Scope.GROUPS_WRITE)
    async def unnest(self, id: int, child_id: int) -> Committed[None]:
        """End a nesting, if there is one. This includes the nesting of a deleted child, which then does not return with
        a restoration."""
        async with self.units.writing(self.context) as work:
            await work.groups.hold(id)
            nesting = await work.nestings.between(id, child_id)
            if nesting is None:
                return Committed(None)
            await work.nestings.end(nesting)
            return await work.commit(None)

"""Operations on users."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from domain.errors import Conflict, Fault, Invalid, NotFound
from domain.idempotency import Committed
from domain.journal import differ
from domain.keys import Scope
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, JsonPage, Page, Position, Sort
from domain.lists.projections import Projection
from domain.stores import Hidden, Identifier, Who
from domain.users import NewUser, ReadUsers, Status, User, Users
from domain.values import JsonObject
from domain.versions import NOT_THERE, Expected, require_version
from domain.work import ReadingUnit, RequestContext, UnitsOfWork
from services.lists import in_pages
from services.operations import Service, operation, retry, streaming


def any_text(_: str) -> bool:
    """Accepts every text as an e-mail address. For directories with local addresses, or addresses of other forms."""
    return True


class WritesUsers(Service):
    """A service that writes users. `is_email` checks the form of new e-mail addresses."""

    def __init__(
        self, units: UnitsOfWork, context: RequestContext, *, is_email: Callable[[str], bool] = any_text
    ) -> None:
        super().__init__(units, context)
        self._is_email = is_email


class UserService(WritesUsers):
    @operation(Scope.USERS_WRITE)
    async def create(self, new: NewUser) -> Committed[User]:
        require_email(self._is_email, new)
        async with self.units.writing(self.context) as work:
            return await work.commit_new(work.users, new)

    @operation(Scope.USERS_WRITE)
    async def enrol(self, new: NewUser) -> Committed[User]:
        """Create a user for SCIM, or bring back the user with this external id that SCIM created and deleted or
        suspended.

        A deleted user is restored. Its profile is replaced, except for `attributes`, which SCIM does not know.
        """
        async with self.units.writing(self.context) as work:
            former = await former_user(work.users, new.external_id)
            if former is None:
                user = await work.users.add(new)
            else:
                back = former.replaced(replace(new, attributes=former.attributes)).restored()
                user = await work.users.save(back)
            return await work.commit(user)

    @operation(Scope.USERS_READ)
    async def get(self, id: int, *, hidden: bool = False) -> User:
        """A user. With `hidden`, it may be deleted."""
        async with self.units.reading(self.context) as work:
            return await work.users.get(id, hidden=hidden)

    @operation(Scope.USERS_READ)
    async def get_many(self, ids: Collection[int]) -> Sequence[User]:
        """The users with these ids, including deleted ones, sorted by id. Ids without a user are left out."""
        async with self.units.reading(self.context) as work:
            return await work.users.get_many(ids)

    @operation(Scope.USERS_READ)
    async def find(self, field: str, value: str) -> User:
        """The user with this e-mail, username or external id."""
        async with self.units.reading(self.context) as work:
            return await work.users.find(field, value)

    @operation(Scope.USERS_READ)
    async def list(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Page[User]:
        async with self.units.reading(self.context) as work:
            return await work.users.page(filter=filter, sort=sort, hidden=hidden, after=after, skip=skip, limit=limit)

    @operation(Scope.USERS_READ)
    async def list_as_json(
        self,
        projection: Projection[User],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        """The same as JSON, which costs a fraction of it."""
        async with self.units.reading(self.context) as work:
            return await work.users.page_as_json(
                projection, filter=filter, sort=sort, hidden=hidden, after=after, limit=limit
            )

    @streaming(Scope.USERS_READ)
    def export(
        self,
        projection: Projection[User],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
    ) -> AsyncGenerator[JsonPage]:
        """The whole list as JSON, as it was at one moment, in one page or more (see `in_pages`)."""

        async def read(work: ReadingUnit, after: Position | None, limit: int) -> JsonPage:
            return await work.users.page_as_json(
                projection, filter=filter, sort=sort, hidden=hidden, after=after, limit=limit
            )

        return in_pages(self, read)

    @operation(Scope.USERS_READ)
    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        async with self.units.reading(self.context) as work:
            return await work.users.count(filter, hidden=hidden, most=most)

    @operation(Scope.USERS_WRITE, retries=False)
    async def put(
        self, new: NewUser, *, restore: bool = False, expected: Expected = None, unwanted: Collection[int] = ()
    ) -> Committed[tuple[User, bool]]:
        """Create the user with this external id, or replace its profile. Returns it, and whether it was created.

        With `restore`, the newest deleted user that had this external id is restored, instead of creating another one.

        Raises `Stale` if its version is not expected, or if it is unwanted. A user that does not exist has the version
        `NOT_THERE`.
        """
        if new.external_id is None:
            raise ValueError("Only a user with an external id can be put.")
        try:
            return await self._put(new, new.external_id, restore, expected, unwanted)
        except Conflict:  # another request may just have created this user: then replace it
            return await self._put(new, new.external_id, restore, expected, unwanted)

    @retry
    async def _put(
        self, new: NewUser, external_id: str, restore: bool, expected: Expected, unwanted: Collection[int]
    ) -> Committed[tuple[User, bool]]:
        async with self.units.writing(self.context) as work:
            user = await find_or_none(work.users, external_id, restore=restore)
            require_version(NOT_THERE if user is None else user.version, expected, unwanted)
            require_email(self._is_email, new, user)
            if user is None:
                created = await work.users.add(new)
                return await work.commit((created, True))
            replaced = user.restored().replaced(new)
            if not differ(user, replaced):
                return Committed((user, False))
            saved = await work.users.save(replaced)
            return await work.commit((saved, False))

    @operation(Scope.USERS_WRITE)
    async def patch(self, who: Who, patch: JsonObject, *, expected: Expected = None) -> Committed[User]:
        """Apply a JSON merge patch. A patch that changes nothing writes nothing."""
        return await self._change(who, lambda user: user.patched(patch), expected)

    @operation(Scope.USERS_WRITE)
    async def change(self, id: int, change: Callable[[User], User], *, expected: Expected = None) -> Committed[User]:
        """Apply a function to a user. If nothing differs afterwards, nothing is written."""
        return await self._change(id, change, expected)

    async def _change(self, who: Who, change: Callable[[User], User], expected: Expected) -> Committed[User]:
        async with self.units.writing(self.context) as work:
            user = await named(work.users, who)
            require_version(user.version, expected)
            changed = change(user)
            require_email(self._is_email, changed, user)
            if not differ(user, changed):
                return Committed(user)
            saved = await work.users.save(changed)
            return await work.commit(saved)

    @operation(Scope.USERS_WRITE)
    async def patch_many(self, ids: Collection[int], patch: JsonObject) -> Committed[int]:
        """Apply a JSON merge patch to these users, except to deleted ones. Returns how many were changed."""
        return await self._change_many(ids, lambda user, _: user.patched(patch))

    @operation(Scope.USERS_WRITE)
    async def delete_many(self, ids: Collection[int]) -> Committed[int]:
        """Delete these users. Returns how many were not deleted before."""
        return await self._change_many(ids, lambda user, now: user.deleted(now))

    @operation(Scope.USERS_WRITE)
    async def restore_many(self, ids: Collection[int]) -> Committed[int]:
        """Bring these users back. Returns how many were deleted before. Raises `Conflict` as `restore` does."""
        return await self._change_many(ids, lambda user, _: user.restored(), deleted=True)

    async def _change_many(
        self, ids: Collection[int], change: Callable[[User, datetime], User], *, deleted: bool = False
    ) -> Committed[int]:
        async with self.units.writing(self.context) as work:
            users = [user for user in await work.users.get_many(ids) if user.is_hidden == deleted]
            pairs = [(user, change(user, work.now)) for user in users]
            saved = await work.users.save_many([changed for user, changed in pairs if differ(user, changed)])
            return await work.commit(len(saved))

    @operation(Scope.USERS_WRITE)
    async def delete(self, who: Who, *, expected: Expected = None) -> Committed[User]:
        """Hide a user and free its identifiers. It can be restored."""
        async with self.units.writing(self.context) as work:
            user = await named(work.users, who)
            require_version(user.version, expected)
            deleted = await work.users.save(user.deleted(work.now))
            return await work.commit(deleted)

    @operation(Scope.USERS_WRITE)
    async def restore(self, id: int) -> Committed[User]:
        """Restore a deleted user. Raises `Conflict` if another user has one of its unique values now."""
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id, hidden=True)
            if not user.is_hidden:
                return Committed(user)
            restored = await work.users.save(user.restored())
            return await work.commit(restored)

    @operation(Scope.USERS_WRITE, Scope.USERS_PURGE)
    async def purge(self, who: Who, *, expected: Expected = None) -> Committed[None]:
        """Erase a user and its values in older changes. A deleted user can be erased by its id."""
        async with self.units.writing(self.context) as work:
            user = await named(work.users, who, hidden=True)
            require_version(user.version, expected)
            await work.users.remove(user)
            committed = await work.commit(None)
        return committed if committed.seq is None else replace(committed, is_pending=not await self.units.scrubbed())


def require_email(is_email: Callable[[str], bool], new: NewUser | User, before: User | None = None) -> None:
    """Raises `Invalid` if the form of a new e-mail address is wrong. An address that a user already has stays valid."""
    had = None if before is None else before.email
    if new.email is not None and new.email != had and not is_email(new.email):
        raise Invalid([Fault("/email", "invalid", "Must have the form of an e-mail address.")])


async def named(users: ReadUsers, who: Who, *, hidden: bool = False) -> User:
    return await (users.find(*who) if isinstance(who, Identifier) else users.get(who, hidden=hidden))


async def find_or_none(users: Users, external_id: str, *, restore: bool) -> User | None:
    """The user with this external id. With `restore`, if there is none, the newest deleted user that had it."""
    try:
        return await users.find("external_id", external_id)
    except NotFound:
        if not restore:
            return None
    try:
        deleted = await users.find_hidden("external_id", external_id)
    except NotFound:
        return None
    return await users.get(deleted.id, hidden=True)


async def former_user(users: Users, external_id: str | None) -> User | None:
    """The user with this external id that SCIM created, if it is deleted or suspended now."""
    if external_id is None:
        return None
    if (user := await find_or_none(users, external_id, restore=False)) is not None:
        return user if user.scim is not None and user.status is Status.SUSPENDED else None
    try:
        deleted = await users.find_hidden("external_id", external_id)
    except NotFound:
        return None
    return None if deleted.scim is None else await users.get(deleted.id, hidden=True)

"""What can be done with users."""

from collections.abc import AsyncGenerator, Collection, Sequence

from domain.changes import differ
from domain.errors import Conflict, NotFound
from domain.filters import Filter
from domain.keys import Scope, require_scopes
from domain.pages import BY_ID, MAX_LIMIT, Page, Position, Sort
from domain.users import NewUser, User, UserKey, Users
from domain.values import JsonObject
from domain.versions import NOT_THERE, Expected, require_version
from domain.work import RequestContext, UnitsOfWork
from services.retry import retry


class UserService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @retry
    async def create(self, new: NewUser) -> User:
        async with self.units.writing(self.context) as work:
            user = await work.users.add(new)
            await work.commit()
            return user

    @retry
    async def get(self, id: int) -> User:
        async with self.units.reading() as work:
            return await work.users.get(id)

    @retry
    async def find(self, key: UserKey, value: str) -> User:
        async with self.units.reading() as work:
            return await work.users.find(key, value)

    @retry
    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Page[User]:
        async with self.units.reading() as work:
            users = await work.users.list(filter=filter, sort=sort, after=after, limit=limit + 1)
            return Page.of(users, limit)

    async def export(self, *, filter: Filter | None = None, sort: Sort = BY_ID) -> AsyncGenerator[Sequence[User]]:
        """The whole list as it is at one moment, a batch at a time."""
        async with self.units.snapshot() as work:
            after = None
            while users := await work.users.list(filter=filter, sort=sort, after=after, limit=MAX_LIMIT):
                yield users
                after = sort.position(users[-1])

    @retry
    async def count(self, filter: Filter | None = None) -> int:
        async with self.units.reading() as work:
            return await work.users.count(filter)

    async def put(
        self, new: NewUser, *, expected: Expected = None, unwanted: Collection[int] = ()
    ) -> tuple[User, bool]:
        """Create the user of this external id or replace its profile; and whether it was created.

        Raises `Stale` if its version is not an expected one, or an unwanted one; before there is one, that is
        `NOT_THERE`.
        """
        try:
            return await self._put(new, expected, unwanted)
        except Conflict:  # with itself perhaps, created by another request this moment: then there is one to replace
            return await self._put(new, expected, unwanted)

    @retry
    async def _put(self, new: NewUser, expected: Expected, unwanted: Collection[int]) -> tuple[User, bool]:
        async with self.units.writing(self.context) as work:
            user = await find_or_none(work.users, new)
            if user is None:
                require_version(NOT_THERE, expected, unwanted)
                user, replaced = await work.users.add(new), None
            else:
                require_version(user.version, expected, unwanted)
                replaced = user.replaced(new)
            if replaced and not differ(user, replaced):
                return user, False
            if replaced is not None:
                user = await work.users.save(replaced)
            await work.commit()
            return user, replaced is None

    @retry
    async def patch(self, id: int, patch: JsonObject, *, expected: Expected = None) -> User:
        """Apply a JSON merge patch. One that changes nothing writes nothing."""
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id)
            require_version(user.version, expected)
            patched = user.patched(patch)
            if not differ(user, patched):
                return user
            user = await work.users.save(patched)
            await work.commit()
            return user

    @retry
    async def delete(self, id: int, *, expected: Expected = None) -> None:
        """Hide a user and release its keys. It can be restored."""
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id)
            require_version(user.version, expected)
            await work.users.save(user.deleted(work.now))
            await work.commit()

    @retry
    async def restore(self, id: int) -> User:
        """Bring a deleted user back. Raises `Conflict` naming the key that another one took meanwhile."""
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id, deleted=True)
            if user.deleted_at is None:
                return user
            user = await work.users.save(user.restored())
            await work.commit()
            return user

    @retry
    async def purge(self, id: int, *, expected: Expected = None) -> None:
        """Erase a user, deleted or not, and what its old changes say of it. Needs a scope of its own."""
        require_scopes([Scope.USERS_PURGE], self.context.scopes)
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id, deleted=True)
            require_version(user.version, expected)
            await work.users.remove(user)
            await work.commit()


async def find_or_none(users: Users, new: NewUser) -> User | None:
    try:
        return await users.find("external_id", str(new.external_id))
    except NotFound:
        return None

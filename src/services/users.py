"""What can be done with users."""

from domain.filters import Filter
from domain.pages import BY_ID, Page, Position, Sort
from domain.users import NewUser, User
from domain.values import JsonObject
from domain.work import Occasion, UnitsOfWork
from services.retry import run_again


class UserService:
    def __init__(self, units: UnitsOfWork, occasion: Occasion) -> None:
        self.units = units
        self.occasion = occasion

    @run_again
    async def create(self, new: NewUser) -> User:
        async with self.units.writing(self.occasion) as work:
            user = await work.users.add(new)
            await work.commit()
            return user

    @run_again
    async def get(self, id: int) -> User:
        async with self.units.reading() as work:
            return await work.users.get(id)

    @run_again
    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Page[User]:
        async with self.units.reading() as work:
            users = await work.users.list(filter=filter, sort=sort, after=after, limit=limit + 1)
            return Page.of(users, limit)

    @run_again
    async def count(self, filter: Filter | None = None) -> int:
        async with self.units.reading() as work:
            return await work.users.count(filter)

    @run_again
    async def patch(self, id: int, patch: JsonObject) -> User:
        """Apply a JSON merge patch. One that changes nothing writes nothing."""
        async with self.units.writing(self.occasion) as work:
            user = await work.users.get(id)
            patched = user.patched(patch)
            if patched == user:
                return user
            user = await work.users.save(patched)
            await work.commit()
            return user

    @run_again
    async def delete(self, id: int) -> None:
        """Hide a user and release its keys."""
        async with self.units.writing(self.occasion) as work:
            user = await work.users.get(id)
            await work.users.save(user.deleted(work.now))
            await work.commit()

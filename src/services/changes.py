"""What can be asked of the record of changes."""

from collections.abc import Sequence

from domain.changes import Change
from domain.errors import NotFound
from domain.users import User
from domain.work import Occasion, UnitsOfWork
from services.retry import run_again


class ChangeService:
    def __init__(self, units: UnitsOfWork, occasion: Occasion) -> None:
        self.units = units
        self.occasion = occasion

    @run_again
    async def list(self, *, since: int, limit: int) -> Sequence[Change]:
        async with self.units.reading() as work:
            return await work.changes.list(since=since, limit=limit)

    async def wait(self, *, since: int, limit: int, within_s: float) -> Sequence[Change]:
        """As `list`; but while there is nothing, wait for it. Whoever waits holds no connection."""
        if found := await self.list(since=since, limit=limit):
            return found
        await self.units.changed(since, within_s)
        return await self.list(since=since, limit=limit)

    @run_again
    async def list_of_user(self, id: int, *, since: int, limit: int) -> Sequence[Change]:
        """The history of one user, a deleted or an erased one too."""
        async with self.units.reading() as work:
            history = await work.changes.list(since=since, kind=User.kind, entity_id=id, limit=limit)
            if not history and not await work.changes.list(kind=User.kind, entity_id=id, limit=1):
                raise NotFound("There never was a user with this id.")
            return history

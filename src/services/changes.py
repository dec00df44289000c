"""What can be asked of the record of changes."""

from domain.changes import Stretch
from domain.errors import NotFound
from domain.filters import Filter
from domain.users import User
from domain.work import Occasion, UnitsOfWork
from services.retry import run_again


class ChangeService:
    def __init__(self, units: UnitsOfWork, occasion: Occasion) -> None:
        self.units = units
        self.occasion = occasion

    @run_again
    async def list(self, *, filter: Filter | None = None, since: int, limit: int) -> Stretch:
        """What matches the filter. Who goes on from the end misses nothing, nor looks twice at what does not match."""
        async with self.units.reading() as work:
            looked_at = since if filter is None else max(since, await work.changes.last())  # before, not after
            found = await work.changes.list(filter=filter, since=since, limit=limit)
            return Stretch.of(found, limit, looked_at)

    async def wait(self, *, filter: Filter | None = None, since: int, limit: int, within_s: float) -> Stretch:
        """As `list`; but while there is nothing, wait for it. Whoever waits holds no connection."""
        stretch = await self.list(filter=filter, since=since, limit=limit)
        while not stretch.changes and within_s > 0:
            within_s = await self.units.changed(stretch.end, within_s)
            stretch = await self.list(filter=filter, since=stretch.end, limit=limit)
        return stretch

    @run_again
    async def list_of_user(self, id: int, *, since: int, limit: int) -> Stretch:
        """The history of one user, a deleted or an erased one too."""
        async with self.units.reading() as work:
            history = await work.changes.list(since=since, kind=User.kind, entity_id=id, limit=limit)
            if not history and not await work.changes.list(kind=User.kind, entity_id=id, limit=1):
                raise NotFound("There never was a user with this id.")
            return Stretch.of(history, limit, looked_at=since)

"""What can be asked of the record of changes."""

from domain.changes import ChangePage
from domain.errors import NotFound
from domain.filters import Filter
from domain.users import User
from domain.work import RequestContext, UnitsOfWork
from services.retry import retry


class ChangeService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @retry
    async def list(self, *, filter: Filter | None = None, since: int, limit: int) -> ChangePage:
        """What matches the filter. Who goes on from the end misses nothing, nor looks twice at what does not match."""
        async with self.units.reading() as work:
            looked_at = since if filter is None else max(since, await work.changes.last())  # before, not after
            found = await work.changes.list(filter=filter, since=since, limit=limit)
            return ChangePage.of(found, limit, looked_at)

    async def wait(self, *, filter: Filter | None = None, since: int, limit: int, within_s: float) -> ChangePage:
        """As `list`; but while there is nothing, wait for it. Whoever waits holds no connection."""
        page = await self.list(filter=filter, since=since, limit=limit)
        while not page.changes and within_s > 0:
            within_s = await self.units.changed(page.end, within_s)
            page = await self.list(filter=filter, since=page.end, limit=limit)
        return page

    @retry
    async def list_of_user(self, id: int, *, since: int, limit: int) -> ChangePage:
        """The history of one user, a deleted or an erased one too."""
        async with self.units.reading() as work:
            history = await work.changes.list(since=since, kind=User.kind, entity_id=id, limit=limit)
            if not history and not await work.changes.list(kind=User.kind, entity_id=id, limit=1):
                raise NotFound("There never was a user with this id.")
            return ChangePage.of(history, limit, looked_at=since)

"""Operations on the record of changes."""

from collections.abc import Sequence
from datetime import datetime

from domain.changes import Change, ChangePage, ReadChanges, Tally
from domain.entities import Entity
from domain.errors import Malformed, NotFound, PositionExpired
from domain.keys import Scope
from domain.lists.filters import Filter
from domain.users import User
from domain.values import MAX_INTEGER
from domain.work import ReadingUnit
from services.operations import Service, operation


class ChangeService(Service):
    @operation(Scope.CHANGES_READ)
    async def list(self, *, filter: Filter | None = None, since: int | None, limit: int) -> ChangePage:
        """The changes that match the filter. A reader who continues after the end of the page misses none.

        Without `since`, those after the last one. Raises `PositionExpired` if the feed cannot be followed from `since`
        on, and `Malformed` if that is beyond the last change.
        """
        if since is not None:
            self.context.require_seq(since)
        async with self.units.reading(
            None if since is None else self.context
        ) as work:  # a replica's last is an old one
            head = await work.changes.last()  # before the list, not after
            since = await reached(work.changes, since, head)
            looked_at = since if filter is None else head
            found = await work.changes.list(filter=filter, since=since, limit=limit)
            if since < head and not follows(since, found):
                await reached(work.changes, since, head)  # once more: old changes may have been removed meanwhile
            return ChangePage.of(found, limit, looked_at)

    @operation(Scope.CHANGES_READ, retries=False)
    async def wait(self, *, filter: Filter | None = None, since: int | None, limit: int, within_s: float) -> ChangePage:
        """As `list`, but wait up to `within_s` seconds for a change if there is none. A wait holds no connection."""
        page = await self.list(filter=filter, since=since, limit=limit)
        self.context.min_seq = None  # the change that ends the wait may not be on a replica yet
        while not page.changes and within_s > 0:
            within_s = await self.units.changed(page.end, within_s, self.context, filter)
            page = await self.list(filter=filter, since=page.end, limit=limit)
        return page

    @operation(Scope.CHANGES_READ)
    async def latest(self, *, filter: Filter | None = None, before: int = MAX_INTEGER, limit: int) -> Sequence[Change]:
        """The newest changes that match the filter first, of those with numbers below `before`."""
        async with self.units.reading(self.context) as work:
            return await work.changes.latest(filter=filter, before=before, limit=limit)

    @operation(Scope.CHANGES_READ)
    async def latest_about(
        self, kind: type[Entity], id: int, *, before: int = MAX_INTEGER, limit: int
    ) -> Sequence[Change]:
        """The newest changes about one entity first, of those with numbers below `before`."""
        async with self.units.reading(self.context) as work:
            return await work.changes.latest(before=before, subject=(kind.kind, id), limit=limit)

    @operation(Scope.CHANGES_READ)
    async def tally(self, *, since: datetime, most: int) -> Sequence[Tally]:
        """What happened on each day from this time on, as the newest `most` changes have it."""
        async with self.units.reading(self.context) as work:
            return await work.changes.tally(since=since, most=most)

    @operation(Scope.CHANGES_READ)
    async def list_about(self, kind: type[Entity], id: int, *, since: int, limit: int) -> ChangePage:
        """All changes that are about one entity, also a deleted or an erased one. Raises as `list`."""
        self.context.require_seq(since)
        async with self.units.reading(self.context) as work:
            subject = (kind.kind, id)
            if since:
                await reached(work.changes, since, await work.changes.last())
            history = await work.changes.list(since=since, subject=subject, limit=limit)
            if not history and not await work.changes.list(subject=subject, limit=1):
                await require_known(work, kind, id)
            return ChangePage.of(history, limit, looked_at=since)


def follows(since: int, found: Sequence[Change]) -> bool:
    """Whether there is nothing between the two that might have been removed."""
    return bool(found) and found[0].seq == since + 1


async def require_known(work: ReadingUnit, kind: type[Entity], id: int) -> None:
    """Raises `NotFound` if there never was such an entity. The changes of one that is there may not be kept."""
    try:
        await (work.users if kind is User else work.groups).get(id, hidden=True)  # only these have one
    except NotFound:
        raise NotFound(f"There never was a {kind.kind} with this id.") from None


async def reached(changes: ReadChanges, since: int | None, head: int) -> int:
    """The number to continue after: `since`, or that of the last change."""
    if since is None:
        return head
    if await changes.has_expired(since):
        raise PositionExpired(head)
    if since > head:
        raise Malformed(f"There is no change with this number yet: the last one is {head}.")
    return since

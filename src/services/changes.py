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
        """The changes after `since` that match the filter. A reader who continues after the end of the page misses
        none.

        Without `since` the page is empty and ends at the last change. Raises `PositionExpired` if the feed cannot be
        followed from `since` on, and `Malformed` if `since` is beyond the last change.
        """
        if since is not None:
            self.context.require_seq(since)
        async with self.units.reading(
            None if since is None else self.context
        ) as work:  # the last change on a replica may be an old one
            head = await work.changes.last()  # before the list, not after
            since = await reached(work.changes, since, head)
            looked_at = since if filter is None else head
            found = await work.changes.list(filter=filter, since=since, limit=limit)
            if since < head and not follows(since, found):
                await reached(work.changes, since, head)  # again, because old changes may have been removed meanwhile
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
        """The changes with numbers below `before` that match the filter, the newest first."""
        async with self.units.reading(self.context) as work:
            return await work.changes.latest(filter=filter, before=before, limit=limit)

    @operation(Scope.CHANGES_READ)
    async def latest_about(
        self, kind: type[Entity], id: int, *, before: int = MAX_INTEGER, limit: int
    ) -> Sequence[Change]:
        """The changes about one entity with numbers below `before`, the newest first."""
        async with self.units.reading(self.context) as work:
            return await work.changes.latest(before=before, subject=(kind.kind, id), limit=limit)

    @operation(Scope.CHANGES_READ)
    async def tally(self, *, since: datetime, most: int) -> Sequence[Tally]:
        """The numbers of changes for each day since this time. Only the newest `most` changes are counted."""
        async with self.units.reading(self.context) as work:
            return await work.changes.tally(since=since, most=most)

    @operation(Scope.CHANGES_READ)
    async def list_about(self, kind: type[Entity], id: int, *, since: int, limit: int) -> ChangePage:
        """The changes after `since` that are about one entity, even if it was deleted or erased. Raises what `list`
        raises."""
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
    """Whether the first change that was found directly follows `since`, so that nothing can have been removed between
    them."""
    return bool(found) and found[0].seq == since + 1


async def require_known(work: ReadingUnit, kind: type[Entity], id: int) -> None:
    """Raises `NotFound` if there was never such an entity. An existing entity may have no changes, because old ones are
    removed."""
    try:
        await (work.users if kind is User else work.groups).get(id, hidden=True)  # only these two have such a list
    except NotFound:
        raise NotFound(f"There never was a {kind.kind} with this id.") from None


async def reached(changes: ReadChanges, since: int | None, head: int) -> int:
    """The number to continue after: `since`, or the number of the last change. Raises `Malformed` and
    `PositionExpired`."""
    if since is None:
        return head
    if await changes.has_expired(since):
        raise PositionExpired(head)
    if since > head:
        raise Malformed(f"There is no change with this number yet: the last one is {head}.")
    return since

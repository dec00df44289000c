"""The record of changes in memory."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final

from domain.changes import Change, Tally
from domain.lists.filters import Filter, matches
from domain.references import Subject
from domain.values import JsonObject
from repositories.memory.table import own
from repositories.memory.units import MemoryReading, MemoryWriting


class MemoryChanges:
    def __init__(self, unit: MemoryReading | MemoryWriting) -> None:
        self._unit = unit

    async def list(
        self, *, filter: Filter | None = None, since: int = 0, subject: Subject | None = None, limit: int
    ) -> Sequence[Change]:
        changes = self._unit.tables.changes
        following = changes[bisect_right(changes, since, key=seq_of) :]
        return [own(each) for each in islice(only(filter, subject, following), max(0, limit))]

    async def latest(
        self, *, filter: Filter | None = None, before: int, subject: Subject | None = None, limit: int
    ) -> Sequence[Change]:
        changes = self._unit.tables.changes
        earlier = changes[: bisect_left(changes, before, key=seq_of)]
        return [own(each) for each in islice(only(filter, subject, reversed(earlier)), max(0, limit))]

    async def tally(self, *, since: datetime, most: int) -> Sequence[Tally]:
        newest = self._unit.tables.changes[::-1][: max(0, most)]
        counts = Counter(
            (f"{change.at:%Y-%m-%d}", change.kind, change.action, status_in(change.before), status_in(change.after))
            for change in newest
            if change.at >= since
        )
        return [Tally(*each, changes) for each, changes in counts.items()]

    async def last(self) -> int:
        return self._unit.tables.last_change

    async def has_expired(self, position: int) -> bool:
        return any(position in expired for expired in self._unit.tables.expired)

    async def last_about(self, kind: str, ids: Collection[int]) -> Mapping[int, tuple[int, datetime]]:
        wanted = {(kind, id) for id in ids}
        changes = self._unit.tables.changes
        return {id: (each.seq, each.at) for each in changes for _, id in wanted.intersection(each.subjects)}

    async def trim(self, *, before: datetime, up_to: int, limit: int) -> int:
        tables = self._unit.tables
        old = list(takewhile(lambda change: change.seq <= up_to and change.at < before, tables.changes[:limit]))
        if old:
            tables.changes = tables.changes[len(old) :]
            expired = [each for each in tables.expired if each.start and each.stop > old[-1].seq]
            tables.expired = [range(old[-1].seq), *expired]
        return len(old)


seq_of: Final = attrgetter("seq")


def only(filter: Filter | None, subject: Subject | None, changes: Iterable[Change]) -> Iterator[Change]:
    if subject is not None:
        return (each for each in changes if subject in each.subjects)
    return (each for each in changes if matches(filter, each))


def status_in(values: JsonObject | None) -> str | None:
    status = None if values is None else values.get("status")
    return status if isinstance(status, str) else None

"""A whole import: its batches, one after the other, and the deletions of a sync."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, TypeVar

from domain.errors import Fault, Invalid, Malformed
from domain.idempotency import Committed
from domain.imports import (
    BATCH,
    MOST_AT_ONCE,
    Counts,
    Done,
    KeySet,
    Kind,
    Mode,
    Options,
    Outcome,
    Row,
    TooManyDeletions,
)
from domain.lists.pages import BY_ID
from domain.nestings import Cycle
from domain.users import User
from services.imports.batches import SeenKeys, folded, kind_of, texts
from services.imports.service import ImportService, Stored

T = TypeVar("T")
U = TypeVar("U")

SLICE: Final = 25
"""How many rows are read before other requests can run."""

OF_A_ROW: Final = (Invalid, Cycle)
"""Refusals that are about the values of a row. Other rows may be valid."""


@dataclass(frozen=True, slots=True)
class Step:
    """The results of one step of an import, and the number of its last change."""

    outcomes: Sequence[Outcome]
    seq: int | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are stored together."""

    number: int
    rows: Sequence[Row]


class Import:
    """One import, which runs step by step. `counts` has its progress. To cancel it, take no more steps.

    Each iteration over `rows` begins at the first row. A sync iterates twice. `batch` rows are stored together, by
    default `BATCH`.
    """

    def __init__(
        self, service: ImportService, rows: Iterable[Row], options: Options, *, batch: int | None = None
    ) -> None:
        self.counts = Counts()
        self._service = service
        self._rows = rows
        self._options = options
        self._batch = batch or BATCH
        self._seen = SeenKeys.by(options, dry_run=service.context.dry_run)
        self._seen.expects_new = self._all_are_new = options.mode is Mode.CREATE and not service.context.dry_run

    async def steps(self) -> AsyncGenerator[Step]:
        """Run the import. Raises what its operations raise. What earlier steps stored stays stored."""
        file = await self._keys() if self._options.mode is Mode.SYNC else None
        async with aclosing(with_the_next(self._parts(), self._store)) as done:
            async for part, stored in done:
                if stored is not None:
                    yield self._counted(stored.result, stored.seq)
                    continue
                for row in part.rows:
                    yield self._counted(*await self._store_alone(row, f"{part.number}/{row.line}"))
        if file is not None:
            async for users in self._missing(file):
                had = {each.id: getattr(each, self._options.match) for each in users}
                deleted = await self._service.delete(had, self._options.match)
                yield self._counted(Stored(deleted.result), deleted.seq)

    def _counted(self, stored: Stored, seq: int | None) -> Step:
        self.counts = self.counts.plus(stored.outcomes, again=stored.again)
        self._seen.add(stored.keys)
        self._seen.expects_new = self._all_are_new and all(each.done is not Done.REJECTED for each in stored.outcomes)
        return Step(stored.outcomes, seq)

    async def _parts(self) -> AsyncGenerator[Batch]:
        rows = iter(self._rows)
        if self._options.atomic:
            yield Batch(0, all_of(rows))
            return
        for number in count():
            part: list[Row] = []
            while some := list(islice(rows, min(SLICE, self._batch - len(part)))):
                part += some
                await asyncio.sleep(0)  # let requests run in between, and store the part before
            if not part:
                return
            yield Batch(number, part)

    async def _store(self, part: Batch) -> Committed[Stored] | None:
        """Store the rows of a part together. Returns None if one of them cannot be stored: then store them one by
        one."""
        try:
            return await self._service.store(part.rows, self._options, self._seen, part=str(part.number))
        except OF_A_ROW:
            if self._options.atomic:
                raise
            return None

    async def _store_alone(self, row: Row, part: str) -> tuple[Stored, int | None]:
        try:
            stored = await self._service.store([row], self._options, self._seen, part=part)
        except OF_A_ROW as refused:
            faults = refused.faults if isinstance(refused, Invalid) else [Fault("", refused.code, refused.detail)]
            kind = kind_of(row) or Kind.USER
            return Stored([Outcome(line=row.line, done=Done.REJECTED, kind=kind, faults=faults)]), None
        return stored.result, stored.seq

    # The users that a sync deletes

    async def _keys(self) -> KeySet:
        """The identifiers in the file. Raises `TooManyDeletions` if too many users are not in it, `Malformed` if a row
        has no identifier."""
        match, keys, unmatched = self._options.match, KeySet(), []
        for number, row in enumerate(self._rows):
            if number % BATCH == 0:
                await asyncio.sleep(0)  # let requests run in between
            if value := texts([row], match):
                keys.add(folded(match, value[0]))
            elif kind_of(row) in {None, Kind.USER}:
                unmatched.append(row.line)
        if unmatched:
            raise Malformed(
                f"{len(unmatched)} lines cannot be read or have no {match}. The first of them is line {unmatched[0]}. "
                "A sync would delete their users: correct them first."
            )
        total, missing = 0, 0
        async for users, gone in self._pages(keys):
            total, missing = total + len(users), missing + len(gone)
        if missing > self._options.max_delete.of(total):
            raise TooManyDeletions(missing, total, self._options.max_delete)
        return keys

    async def _missing(self, file: KeySet) -> AsyncGenerator[Sequence[User]]:
        async for _, gone in self._pages(file):
            for start in range(0, len(gone), BATCH):
                yield gone[start : start + BATCH]

    async def _pages(self, file: KeySet) -> AsyncGenerator[tuple[Sequence[User], Sequence[User]]]:
        """Pages of the users who have the identifier, each with those of them who are not in the file."""
        match, after, more = self._options.match, None, True
        while more:
            page = await self._service.matched(match, after)
            yield page.items, [each for each in page.items if folded(match, getattr(each, match)) not in file]
            more = page.more
            after = BY_ID.position(page.items[-1]) if more else None


async def with_the_next(items: AsyncGenerator[T], use: Callable[[T], Awaitable[U]]) -> AsyncGenerator[tuple[T, U]]:
    """Each item with the result of `use`. While an item is used, the next one is made."""

    async def make() -> T | None:
        return await anext(items, None)

    making = asyncio.create_task(make())
    try:
        while (item := await making) is not None:
            making = asyncio.create_task(make())
            yield item, await use(item)
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


def all_of(rows: Iterator[Row]) -> Sequence[Row]:
    """All rows. Raises `Malformed` if there are too many for one transaction."""
    found = list(islice(rows, MOST_AT_ONCE + 1))
    if len(found) > MOST_AT_ONCE:
        raise Malformed(f"An import that is all or nothing has at most {MOST_AT_ONCE} rows.")
    return found

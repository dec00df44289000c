"""A whole import: its batches one after the other, and what a sync deletes."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from domain.errors import Fault, Invalid, Malformed
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
from services.imports.batches import Met, folded, kind_of, texts
from services.imports.service import ImportService, Stored

OF_A_ROW: Final = (Invalid, Cycle)
"""Refusals that are about what a row says, so that other rows may be good."""


@dataclass(frozen=True, slots=True)
class Step:
    """What an import did at a time, and the number of the last change of it."""

    outcomes: Sequence[Outcome]
    seq: int | None


class Import:
    """One import, step by step. `counts` tell how far it is. To cancel it, ask for no more steps.

    `rows` are read from their start each time that they are asked for: twice for a sync.
    """

    def __init__(self, service: ImportService, rows: Iterable[Row], options: Options) -> None:
        self.counts = Counts()
        self._service = service
        self._rows = rows
        self._options = options
        self._met = Met.by(options, dry_run=service.context.dry_run)

    async def steps(self) -> AsyncGenerator[Step]:
        """Raises what its operations raise. What earlier steps stored stays stored."""
        file = await self._keys() if self._options.mode is Mode.SYNC else None
        for number, rows in enumerate(self._batches()):
            async for step in self._store(rows, number):
                yield self._counted(*step)
        if file is not None:
            async for users in self._missing(file):
                had = {each.id: getattr(each, self._options.match) for each in users}
                deleted = await self._service.delete(had, self._options.match)
                yield self._counted(Stored(deleted.result), deleted.seq)

    def _counted(self, stored: Stored, seq: int | None) -> Step:
        self.counts = self.counts.plus(stored.outcomes, again=stored.again)
        self._met.add(stored.keys)
        return Step(stored.outcomes, seq)

    def _batches(self) -> Iterator[Sequence[Row]]:
        rows = iter(self._rows)
        if self._options.atomic:
            yield all_of(rows)
        else:
            while some := list(islice(rows, BATCH)):
                yield some

    async def _store(self, rows: Sequence[Row], number: int) -> AsyncGenerator[tuple[Stored, int | None]]:
        """Together, or one by one if one of them cannot be stored."""
        part = str(number)
        try:
            stored = await self._service.store(rows, self._options, self._met, part=part)
        except OF_A_ROW:
            if self._options.atomic:
                raise
            for row in rows:
                yield await self._store_alone(row, f"{part}/{row.line}")
        else:
            yield stored.result, stored.seq

    async def _store_alone(self, row: Row, part: str) -> tuple[Stored, int | None]:
        try:
            stored = await self._service.store([row], self._options, self._met, part=part)
        except OF_A_ROW as refused:
            faults = refused.faults if isinstance(refused, Invalid) else [Fault("", refused.code, refused.detail)]
            kind = kind_of(row) or Kind.USER
            return Stored([Outcome(line=row.line, done=Done.REJECTED, kind=kind, faults=faults)]), None
        return stored.result, stored.seq

    # Those whom a sync deletes

    async def _keys(self) -> KeySet:
        """The identifiers of the file, if not too many users lack them. Raises `TooManyDeletions`, `Malformed`."""
        match, keys, unmatched = self._options.match, KeySet(), []
        for number, row in enumerate(self._rows):
            if number % BATCH == 0:
                await asyncio.sleep(0)  # others are served meanwhile
            if value := texts([row], match):
                keys.add(folded(match, value[0]))
            elif kind_of(row) in {None, Kind.USER}:
                unmatched.append(row.line)
        if unmatched:
            raise Malformed(
                f"{len(unmatched)} lines cannot be read or have no {match}, the first of them is line {unmatched[0]}. "
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
        """The users who have the identifier, and those of them who are not in the file."""
        match, after, more = self._options.match, None, True
        while more:
            page = await self._service.matched(match, after)
            yield page.items, [each for each in page.items if folded(match, getattr(each, match)) not in file]
            more = page.more
            after = BY_ID.position(page.items[-1]) if more else None


def all_of(rows: Iterator[Row]) -> Sequence[Row]:
    """Raises `Malformed` if they are more than one transaction takes."""
    found = list(islice(rows, MOST_AT_ONCE + 1))
    if len(found) > MOST_AT_ONCE:
        raise Malformed(f"An import that is all or nothing has at most {MOST_AT_ONCE} rows.")
    return found

"""Copying a directory to another database: every table unchanged, and then a comparison of both.

The tables come from the metadata, which is complete when the stores are imported. Rows are stored in the order of their
keys, each batch in a transaction. So a copy that was killed can continue after its last batch, when the rows before it
have been compared with the source.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from hashlib import blake2b, sha256
from typing import Any

import sqlalchemy as sa

from domain.copies import Comparison, Finished, Progress, Sum
from domain.errors import NotReady
from domain.work import utc_now
from repositories import answers, stores  # noqa: F401  # their tables have to be in the metadata
from repositories.engines import revisions
from repositories.engines.database import Database
from repositories.engines.schema import metadata
from repositories.engines.upkeep.copies import Rows, State, Target, begin, clear, counting, finish

Step = Progress | Comparison | Finished


class Differs(Exception):
    """The rows in the target are not the first rows of the source."""


class Copy:
    """With `live`, others may write to the source during the copy. The copy shows one moment, and begins a new
    epoch."""

    def __init__(self, source: Database, target: Database, *, live: bool = False) -> None:
        self._source = source
        self._target = target
        self._live = live
        self._rows = 0
        self._done = 0
        self._sums: dict[str, Sum] = {}

    async def steps(self) -> AsyncGenerator[Step]:
        """Run the copy, step by step. If the target differs at the end, there is no `Finished`. Raises `NotReady`."""
        if self._source.name == self._target.name:
            raise NotReady("The source and the target are the same. Nothing was changed.")
        mark = f"{revisions.UNFINISHED}{sha256(self._source.name.encode()).hexdigest()[:16]}"
        async with self._source.copied(live=self._live) as source, self._target.copied_into() as target:
            counters = await source.counters()
            self._rows = sum([(await source.fetch(counting(table)))[0][0] for table in metadata.sorted_tables])
            await target.run(partial(begin, mark))
            async for progress in self._load(source, target):
                yield progress
            are_same = True
            async for step in self._compare(target):
                are_same = are_same and (isinstance(step, Progress) or step.is_same)
                yield step
            if are_same:
                start = await target.run(partial(finish, counters, utc_now() if self._live else None))
                yield Finished(counters.get("changes", 0), start)

    async def _load(self, source: State, target: Target) -> AsyncGenerator[Progress]:
        """Copy all tables. If the target differs from the source, it is cleared first, because nobody has used it
        yet."""
        try:
            async for progress in self._load_all(source, target):
                yield progress
        except Differs:
            await target.run(clear)
            async for progress in self._load_all(source, target):
                yield progress

    async def _load_all(self, source: State, target: Target) -> AsyncGenerator[Progress]:
        self._done = 0
        for table in metadata.sorted_tables:
            adding = Adding()
            async for rows in transferred(table, source, target):
                adding.add(rows)
                yield self._progress("copying", table, rows)
            self._sums[table.name] = adding.sum()

    async def _compare(self, target: Target) -> AsyncGenerator[Progress | Comparison]:
        async with target.state() as state:
            for table in metadata.sorted_tables:
                adding = Adding()
                async for rows in state.batches(table):
                    adding.add(rows)
                    yield self._progress("comparing", table, rows)
                yield Comparison(table.name, self._sums[table.name], adding.sum())

    def _progress(self, doing: str, table: sa.Table, rows: Rows) -> Progress:
        self._done += len(rows)
        return Progress(doing, table.name, self._done, 2 * self._rows)


class Adding:
    """The sum of a table, to which rows are added."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = blake2b(digest_size=8)

    def add(self, rows: Iterable[Any]) -> None:
        lines = [ascii(row) for row in rows]
        self.rows += len(lines)
        self._digest.update("\n".join([*lines, ""]).encode())

    def sum(self) -> Sum:
        return Sum(self.rows, self._digest.hexdigest())


async def transferred(table: sa.Table, source: State, target: Target) -> AsyncGenerator[Rows]:
    """Copy the rows of a table. Yields each batch when it is in the target. Raises `Differs`."""
    async with aclosing(source.batches(table)) as batches:
        async with target.state() as state:
            async for there in state.batches(table):
                if await anext(batches, None) != there:
                    raise Differs
                yield there
        async for rows in batches:
            await target.write(table, rows)
            yield rows

"""Scrubbing beside other writers: what runs in which turn, so that they wait as little as possible."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from domain.errors import Busy
from repositories.engines.sqlite.connection import NO_CHECKPOINTS, Connection
from repositories.engines.sqlite.locks import TimedLock
from repositories.engines.sqlite.steps import Work, in_turn, run
from repositories.engines.sqlite.upkeep.scrubbing import empty_log, flush, rewrite
from repositories.engines.upkeep.scrubbing import Scrubbed

T = TypeVar("T")

GIVES_WAY_S: Final = 0.03
"""If another writer has waited so long, a rewrite of the file is stopped, and tried again later."""


class Scrubber:
    """Scrubs on the writing connection. `checkpoints` is the pragma that the connection has otherwise."""

    def __init__(self, connection: Connection, write_lock: TimedLock, log: Path, checkpoints: str) -> None:
        self._connection = connection
        self._write_lock = write_lock
        self._log = log
        self._checkpoints = checkpoints

    async def scrub(self, *, gives_way: bool) -> Scrubbed:
        """Rewrite the file, if it is not too large, and empty its log."""
        is_waited_for = partial(self._write_lock.has_waited, GIVES_WAY_S)
        try:
            async with self._without_checkpoints():
                await self._in_turn(partial(rewrite, is_waited_for, gives_way))
                await asyncio.to_thread(flush, self._log)
                return await self._in_turn(empty_log)
        except (Busy, sqlite3.Error, OSError):  # another writer has the file or waits for it, or the disk is full
            return Scrubbed.NOT_YET

    @asynccontextmanager
    async def _without_checkpoints(self) -> AsyncIterator[None]:
        """In this block no COMMIT checkpoints the log. The first one after a rewrite would need 0.1 s for that."""
        try:
            await self._connection.read(partial(run, NO_CHECKPOINTS))
            yield
        finally:
            await self._connection.read(partial(run, self._checkpoints))

    async def _in_turn(self, work: Work[T]) -> T:
        """Run a job while nobody writes. Raises `Busy`."""
        await self._write_lock.acquire()
        try:
            return await self._connection.run(partial(in_turn, work))
        finally:
            self._write_lock.release()

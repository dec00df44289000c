"""Units of work in SQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from domain.changes import Journal
from domain.once import IN_FLIGHT, InFlight, InFlightKeys, Once
from domain.work import Clock, Occasion, utc_now
from repositories.answers import find_answer, forget_answers, keep_answer
from repositories.changes import LAST_SEQ, SqlChanges, append, redact
from repositories.database import Database
from repositories.feed import Feed
from repositories.keys import SqlKeys, SqlReadKeys
from repositories.lanes import Lane, Transaction
from repositories.users import SqlReadUsers, SqlUsers

PAUSE_S: Final = 0.04
"""The longest wait before the second attempt; it doubles from one to the next."""


@dataclass(frozen=True, slots=True)
class SqlReadingUnit:
    """No transaction: each read is a statement of its own, on a lane that its database keeps for reading."""

    users: SqlReadUsers
    changes: SqlChanges
    keys: SqlReadKeys

    @classmethod
    def on(cls, lane: Lane, scans: Lane) -> "SqlReadingUnit":
        return cls(users=SqlReadUsers(lane, scans), changes=SqlChanges(lane, scans), keys=SqlReadKeys(lane))


class SqlUnitOfWork:
    """One transaction, which begins with the first statement."""

    def __init__(self, database: Database, lane: Transaction, occasion: Occasion, clock: Clock) -> None:
        self.now = clock()
        occasion.seq = None  # that of a unit that was contended in its COMMIT
        self._database = database
        self._lane = lane
        self._occasion = occasion
        self._journal = Journal()
        self.users = SqlUsers(lane, self._journal, self.now)
        self.changes = SqlChanges(lane, scans=lane)
        self.keys = SqlKeys(lane, self._journal, self.now)

    async def commit(self) -> None:
        who = self._occasion
        await self._erase()
        changes = list(self._journal.changes(actor=who.actor, request_id=who.request_id, at=self.now))
        ends = bool(changes) and not (who.dry_run or who.once)
        seq = await append(self._lane, changes, self._database.commit_order, last=ends)
        if who.dry_run:
            await self._lane.rollback()
            return
        if who.once and seq and (written := self._journal.last):
            await keep_answer(self._lane, who.actor, who.once, written=written, seq=seq, now=self.now)
        if not ends:
            await self._lane.commit()
        who.seq = seq

    async def _erase(self) -> None:
        for removed in self._journal.removed_entities:
            await redact(self._lane, removed)
            await forget_answers(self._lane, removed)

    @property
    def has_erased(self) -> bool:
        return bool(self._journal.removed_entities) and self._occasion.seq is not None

    async def require_first(self, once: Once) -> None:
        """Raises the answer if this was done before, `InFlight` if another process is at it."""
        if not await self._database.claim(self._lane, f"{self._occasion.actor} {once.key}"):
            raise InFlight(IN_FLIGHT)
        await find_answer(self._lane, self._occasion.actor, once, self.now)


class SqlUnitsOfWork:
    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._in_flight = InFlightKeys()
        self._feed = Feed(self._last_seq)

    async def start(self) -> None:
        await self._database.start()

    async def stop(self) -> None:
        await self._database.stop()

    async def is_ready(self) -> bool:
        return await self._database.is_ready()

    async def _last_seq(self) -> int:
        ((seq,),) = await self._database.reader.rows(LAST_SEQ)
        return int(seq)

    async def changed(self, since: int, within_s: float) -> float:
        return await self._feed.wait_beyond(since, within_s)

    def release(self) -> None:
        self._feed.release()

    def reading(self) -> AbstractAsyncContextManager[SqlReadingUnit]:
        return nullcontext(SqlReadingUnit.on(self._database.reader, self._database.scans))

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqlReadingUnit]:
        async with self._database.snapshot() as lane:
            yield SqlReadingUnit.on(lane, lane)

    @asynccontextmanager
    async def writing(self, occasion: Occasion) -> AsyncIterator[SqlUnitOfWork]:
        once = None if occasion.dry_run else occasion.once
        with self._in_flight.claim(occasion.actor, once):
            async with self._database.transaction() as lane:
                work = SqlUnitOfWork(self._database, lane, occasion, self._clock)
                if once:
                    await work.require_first(once)
                yield work
        if work.has_erased:
            await self._database.scrub()
        if occasion.seq is not None:
            self._feed.committed(occasion.seq)

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(random.uniform(0, PAUSE_S * 2 ** (attempt - 1)))  # noqa: S311  # only spreads the load

"""Units of work in SQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from domain.changes import Journal
from domain.idempotency import IN_FLIGHT, IdempotencyKey, InFlight, InFlightKeys
from domain.work import Clock, RequestContext, utc_now
from repositories.answers import find_answer, forget_answers, keep_answer
from repositories.changes import LAST_SEQ, SqlChanges, append, redact
from repositories.engines.database import Database
from repositories.engines.executors import Executor, Transaction
from repositories.feed import Feed
from repositories.keys import SqlKeys, SqlReadKeys
from repositories.users import SqlReadUsers, SqlUsers

PAUSE_S: Final = 0.04
"""The longest wait before the second attempt; it doubles from one to the next."""


@dataclass(frozen=True, slots=True)
class SqlReadingUnit:
    """No transaction: each read is a statement of its own, on a executor that its database keeps for reading."""

    users: SqlReadUsers
    changes: SqlChanges
    keys: SqlReadKeys

    @classmethod
    def on(cls, executor: Executor, scans: Executor) -> "SqlReadingUnit":
        return cls(users=SqlReadUsers(executor, scans), changes=SqlChanges(executor, scans), keys=SqlReadKeys(executor))


class SqlUnitOfWork:
    """One transaction, which begins with the first statement."""

    def __init__(self, database: Database, executor: Transaction, context: RequestContext, clock: Clock) -> None:
        self.now = clock()
        context.seq = None  # that of a unit that was contended in its COMMIT
        self._database = database
        self._executor = executor
        self._context = context
        self._journal = Journal()
        self.users = SqlUsers(executor, self._journal, self.now)
        self.changes = SqlChanges(executor, scans=executor)
        self.keys = SqlKeys(executor, self._journal, self.now)

    async def commit(self) -> None:
        who = self._context
        await self._erase()
        changes = list(self._journal.changes(actor=who.actor, request_id=who.request_id, at=self.now))
        ends = bool(changes) and not (who.dry_run or who.idempotency_key)
        seq = await append(self._executor, changes, self._database.commit_order, last=ends)
        if who.dry_run:
            await self._executor.rollback()
            return
        if who.idempotency_key and seq and (written := self._journal.last):
            await keep_answer(self._executor, who.actor, who.idempotency_key, written=written, seq=seq, now=self.now)
        if not ends:
            await self._executor.commit()
        who.seq = seq

    async def _erase(self) -> None:
        for removed in self._journal.removed_entities:
            await redact(self._executor, removed)
            await forget_answers(self._executor, removed)

    @property
    def has_erased(self) -> bool:
        return bool(self._journal.removed_entities) and self._context.seq is not None

    async def require_first(self, idempotency_key: IdempotencyKey) -> None:
        """Raises the answer if this was done before, `InFlight` if another process is at it."""
        if not await self._database.claim(self._executor, f"{self._context.actor} {idempotency_key.key}"):
            raise InFlight(IN_FLIGHT)
        await find_answer(self._executor, self._context.actor, idempotency_key, self.now)


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
        ((seq,),) = await self._database.reader.fetch(LAST_SEQ)
        return int(seq)

    async def changed(self, since: int, within_s: float) -> float:
        return await self._feed.wait_beyond(since, within_s)

    def release(self) -> None:
        self._feed.release()

    def reading(self) -> AbstractAsyncContextManager[SqlReadingUnit]:
        return nullcontext(SqlReadingUnit.on(self._database.reader, self._database.scans))

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqlReadingUnit]:
        async with self._database.snapshot() as executor:
            yield SqlReadingUnit.on(executor, executor)

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[SqlUnitOfWork]:
        idempotency_key = None if context.dry_run else context.idempotency_key
        with self._in_flight.claim(context.actor, idempotency_key):
            async with self._database.transaction() as executor:
                work = SqlUnitOfWork(self._database, executor, context, self._clock)
                if idempotency_key:
                    await work.require_first(idempotency_key)
                yield work
        if work.has_erased:
            await self._database.scrub()
        if context.seq is not None:
            self._feed.committed(context.seq)

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(random.uniform(0, PAUSE_S * 2 ** (attempt - 1)))  # noqa: S311  # only spreads the load

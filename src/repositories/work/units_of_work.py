"""Units of work in SQL."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from domain.changes import Change, NewChange
from domain.entities import Entity
from domain.errors import Contended, Damaged, NoSpace
from domain.idempotency import IN_FLIGHT, Committed, IdempotencyKey, InFlight, InFlightKeys, shown_by
from domain.journal import Additions
from domain.limits import LIMITS, Limits
from domain.lists.filters import Filter
from domain.stores import Store
from domain.work import Clock, RequestContext, utc_now
from repositories.answers import find_answer, forget_answers, keep_answer, remove_old_answers
from repositories.delivery import deliveries
from repositories.engines.database import Database
from repositories.engines.executors import Transaction
from repositories.engines.replicas import Replica
from repositories.journal import append, redact
from repositories.locks import LockOrder
from repositories.stores import TABLES, SqlReadStores, SqlStores
from repositories.tables.recording import record_additions
from repositories.tables.relations import Relations
from repositories.tables.table import EntityTable
from repositories.units import Reading, Writing
from repositories.work.background import Background, Scrubbing
from repositories.work.creation import can_be_alone, create
from repositories.work.feed import READ_AT_ONCE, Feed
from repositories.work.places import TOO_MANY_STREAMS, Places

T = TypeVar("T")
N = TypeVar("N")
E = TypeVar("E", bound=Entity)

PAUSE_S: Final = 0.04
"""The longest wait before the second attempt, in seconds. It doubles with each further attempt."""


CLEARED_EVERY_S: Final = 600
LEFT_EVERY_S: Final = 10.0
SCRUBBED_WITHIN_S: Final = 1.0
"""How long a request that erases waits until the values are removed from the files, in seconds."""


@contextmanager
def moving(replica: Replica | None, context: RequestContext) -> Iterator[None]:
    """Translates failures of a replica into `Contended`, so that the operation runs again, on the primary."""
    try:
        yield
    except (Contended, Damaged, NoSpace) as error:
        if replica is None:
            raise
        replica.failed()
        context.min_seq = None
        raise Contended("A replica does not answer.") from error


class SqlUnitOfWork(SqlStores):
    """A writing unit: one transaction, which begins with the first statement."""

    def __init__(
        self, database: Database, executor: Transaction, context: RequestContext, now: datetime, relations: Relations
    ) -> None:
        locks = LockOrder(relations.ranks, are_needed=database.locks_rows)
        unit = Writing(
            executor,
            now,
            context.actor,
            context.request_id,
            database.commit_order,
            database=database,
            relations=relations,
            locks=locks,
        )
        super().__init__(unit)
        self._relations = relations
        self.now = now
        self.seq: int | None = None
        self.has_erased = False
        self._database = database
        self._context = context

    async def commit(self, result: T) -> Committed[T]:
        self.unit.executor.require_open()  # a dry run without changes runs no statement that would check this
        await self.unit.settle()
        who, executor, journal = self._context, self.unit.executor, self.unit.journal
        parts = journal.parts(actor=who.actor, request_id=who.request_id, at=self.now)
        erased = journal.erased
        ends = (
            bool(parts) and not isinstance(parts[-1], Additions) and not (who.dry_run or who.idempotency_key or erased)
        )
        seq = journal.seq
        for part in parts:
            seq = await self._record(part, last=ends and part is parts[-1])
        await self._erase(erased)  # after the changes of this unit are written, because they may have values too
        if who.dry_run:
            await executor.rollback()
            return Committed(result)
        committed = Committed(result, seq)
        if who.idempotency_key and seq:
            await self._keep_answer(who.idempotency_key, committed)
        if not ends:
            await executor.commit()
        self.seq = seq
        self.has_erased = bool(erased)
        return committed

    async def commit_new(self, store: Store[N, E], new: N) -> Committed[E]:
        who = self._context
        if who.dry_run or who.idempotency_key or not can_be_alone(store, self.unit):
            return await self.commit(await store.add(new))
        self.unit.end()
        added, self.seq = await create(store, self.unit, new)
        return Committed(added, self.seq)

    async def _keep_answer(self, key: IdempotencyKey, committed: Committed[Any]) -> None:
        actor, shown, answer = self._context.actor, shown_by(committed), key.answer(committed)
        await keep_answer(self.unit.executor, actor, key, answer=answer, shows=shown, now=self.now)

    async def _record(self, part: Sequence[NewChange] | Additions, *, last: bool) -> int:
        if isinstance(part, Additions):
            return await record_additions(self.unit, self._relations.table_of(part.kind), part.ids)
        return await append(self.unit.executor, part, self._database.commit_order, last=last)

    async def _erase(self, erased: Sequence[Entity]) -> None:
        if erased:
            await self._database.note_erasure(self.unit.executor)
        for entity in erased:
            about = self._relations.kinds_about(entity.kind)
            await forget_answers(self.unit.executor, entity, about)
            await redact(self.unit.executor, entity, about)
            await deliveries.redact(self.unit.executor, entity, about)

    async def require_first(self, key: IdempotencyKey) -> None:
        """Raises `AlreadyDone` or `IdempotencyKeyReused` if the key was used before, and `InFlight` if it is in use."""
        if not await self._database.claim(self.unit.executor, f"{self._context.actor} {key.key}"):
            raise InFlight(IN_FLIGHT)
        await find_answer(self.unit.executor, self._context.actor, key, self.now)


class SqlUnitsOfWork:
    """The directory in a database. For a directory with more kinds of entities, derive a class with other units and
    tables."""

    reading_unit = SqlReadStores
    writing_unit = SqlUnitOfWork
    tables: Sequence[EntityTable[Any, Any]] = TABLES

    def __init__(self, database: Database, clock: Clock = utc_now, limits: Limits = LIMITS) -> None:
        self._database = database
        self._clock = clock
        self._relations = Relations(self.tables)
        self._in_flight = InFlightKeys()
        self._background = Background()
        self._scrubbing = Scrubbing(database.scrub, self._background)
        self._is_started = False
        self._feed = Feed(self._changes_behind, limits)
        self._snapshots = Places(limits.snapshots, limits.snapshots_per_key, TOO_MANY_STREAMS)

    async def start(self) -> None:
        if not self._is_started:
            await self._database.start()
            self._is_started = True
            self._background.every(CLEARED_EVERY_S, self.clear_answers, "clearing old answers")
            self._background.every(LEFT_EVERY_S, self._scrub_what_is_left, "looking for erased rows", at_once=True)

    async def stop(self) -> None:
        self._is_started = False
        await self._background.stop()
        await self._database.stop()

    async def later(self, job: Callable[[], Awaitable[None]], what: str) -> None:
        self._background.run(job, what)

    async def _scrub_what_is_left(self) -> None:
        """Do the work that is left by a process that was killed, or by a command, which leaves it to the server."""
        if self._scrubbing.is_idle and await self._database.has_traces():
            self._scrubbing.erased()

    async def scrubbed(self) -> bool:
        return await self._scrubbing.is_over(SCRUBBED_WITHIN_S)

    async def clear_answers(self) -> None:
        """Remove expired answers, a few at a time."""
        more = True
        while more:
            async with self._database.transaction() as executor:
                more = await remove_old_answers(executor, self._clock())
                await executor.commit()

    async def require_ready(self) -> None:
        await self._database.require_ready()

    async def _changes_behind(self, seq: int) -> Sequence[Change]:
        async with self.reading() as work:
            return await work.changes.list(since=seq, limit=READ_AT_ONCE)

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        return await self._feed.wait_beyond(since, within_s, filter, context.actor)

    def release(self) -> None:
        self._feed.release()

    def reading(self, context: RequestContext | None = None) -> AbstractAsyncContextManager[SqlReadStores]:
        if context is not None and (replica := self._replica_for(context)) is not None:
            return self._reading_from(replica, context)
        return self.reading_unit(Reading(self._database.reader, self._database.scans, database=self._database))

    @asynccontextmanager
    async def _reading_from(self, replica: Replica, context: RequestContext) -> AsyncIterator[SqlReadStores]:
        with moving(replica, context):
            async with self.reading_unit(Reading(replica.reader, replica.scans, database=self._database)) as work:
                yield work

    @asynccontextmanager
    async def snapshot(self, context: RequestContext) -> AsyncIterator[SqlReadStores]:
        replica = self._replica_for(context)
        with self._snapshots.one(context.actor), moving(replica, context):
            async with (
                (replica or self._database).snapshot() as executor,
                self.reading_unit(Reading(executor, executor, database=self._database)) as work,
            ):
                yield work

    def _replica_for(self, context: RequestContext) -> Replica | None:
        """The replica that this context may use, if any. Notes in the context which change it sees there, or on the
        primary."""
        replicas = self._database.replicas
        if replicas is None or context.min_seq is None:
            return None
        seen = context.seen or 0
        replica = replicas.having(max(context.min_seq, seen))
        context.seen = max(seen, replicas.head if replica is None else replica.seq)
        return replica

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[SqlUnitOfWork]:
        key = None if context.dry_run else context.idempotency_key
        with self._in_flight.claim(context.actor, key):
            async with self._database.transaction() as executor:
                executor.can_wait = context.can_wait
                work = self.writing_unit(self._database, executor, context, self._clock(), self._relations)
                try:
                    if key:
                        await work.require_first(key)
                    yield work
                finally:
                    work.unit.end()
        if work.has_erased and work.seq is not None:
            self._scrubbing.erased()
        if work.seq is not None:
            self._feed.committed(work.seq)

    async def begin_epoch(self, *, beyond: int = 0) -> int:
        return await self._database.begin_epoch(self._clock(), beyond=beyond)

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(random.uniform(0, PAUSE_S * 2 ** (attempt - 1)))  # noqa: S311  # only to spread the load

"""The fake: units of work in memory, which keep the same promises as those in SQL.

A writing unit copies the committed data when it begins, and its commit replaces the data by the copy. So a forgotten
commit loses data, exactly as in SQL. One unit writes at a time, as on SQLite.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from domain.changes import Change, NewChange
from domain.entities import Entity
from domain.idempotency import REMEMBERED_FOR, Committed, IdempotencyKey, InFlightKeys, replay, shown_by
from domain.limits import LIMITS, Limits
from domain.lists.filters import Filter
from domain.stores import Store
from domain.work import Clock, RequestContext, utc_now
from repositories.memory.table import names_in
from repositories.memory.units import Answer, MemoryReading, MemoryWriting, Tables
from repositories.stores import TABLES, MemoryReadStores, MemoryStores
from repositories.tables.table import EntityTable
from repositories.work.background import guarded
from repositories.work.feed import READ_AT_ONCE, Feed
from repositories.work.places import TOO_MANY_STREAMS, Places

T = TypeVar("T")
N = TypeVar("N")
E = TypeVar("E", bound=Entity)


class MemoryUnitOfWork(MemoryStores):
    def __init__(self, committed: Tables, context: RequestContext, clock: Clock) -> None:
        super().__init__(MemoryWriting(committed.copy(), clock()))
        self.seq: int | None = None
        self._committed = committed
        self._context = context

    @property
    def now(self) -> datetime:
        return self.unit.now

    def require_first(self, key: IdempotencyKey) -> None:
        """Raises `AlreadyDone`, or `IdempotencyKeyReused`, if the key was used before."""
        kept = self.unit.tables.answers.get((self._context.actor, key.key))
        if kept is not None and kept.at > self.now - REMEMBERED_FOR:
            raise replay(key, kept.fingerprint, kept.answer)

    async def commit(self, result: T) -> Committed[T]:
        tables, who = self.unit.tables, self._context
        seq = None
        for new in self.unit.journal.changes(actor=who.actor, request_id=who.request_id, at=self.now):
            seq = tables.last_seq = tables.last_seq + 1
            tables.changes.append(Change(**{name: getattr(new, name) for name in names_in(NewChange)}, seq=seq))
        for entity in self.unit.journal.erased:
            self._forget(entity)
        self.unit.has_ended = True
        if who.dry_run:
            return Committed(result)
        committed = Committed(result, seq)
        if who.idempotency_key and seq:
            self._keep_answer(tables, who.idempotency_key, committed)
        self._committed.become(tables)
        self.seq = seq
        return committed

    async def commit_new(self, store: Store[N, E], new: N) -> Committed[E]:
        return await self.commit(await store.add(new))

    def _keep_answer(self, tables: Tables, key: IdempotencyKey, committed: Committed[Any]) -> None:
        answer = Answer(shown_by(committed), key.fingerprint, key.answer(committed), self.now)
        tables.answers[self._context.actor, key.key] = answer

    def _forget(self, entity: Entity) -> None:
        """Erase the values of an entity in changes and answers, and the values of other entities that are personal data
        of it."""
        tables = self.unit.tables
        subject = (entity.kind, entity.id)
        about = {each.entity.kind for each in tables.referrers_of(entity.kind) if each.reference.about}

        def is_about(change: Change) -> bool:
            return change.subjects[0] == subject or (change.kind in about and subject in change.subjects)

        gone = {change.subjects[0] for change in tables.changes if is_about(change)} | {subject}
        tables.changes = [
            replace(change, before=None, after=None) if is_about(change) else change for change in tables.changes
        ]
        tables.answers = {key: each for key, each in tables.answers.items() if each.entity not in gone}
        tables.deliveries = {
            key: replace(each, answer=None) if each.subject in gone else each for key, each in tables.deliveries.items()
        }


class MemoryUnitsOfWork:
    """A directory in memory. Two of them share nothing.

    For a directory with more kinds of entities, derive a class with other units and tables.
    """

    reading_unit = MemoryReadStores
    writing_unit = MemoryUnitOfWork
    tables: Sequence[EntityTable[Any, Any]] = TABLES

    def __init__(self, clock: Clock = utc_now, limits: Limits = LIMITS) -> None:
        self._tables = Tables.of(table.entity for table in self.tables)
        self._clock = clock
        self._write_lock = asyncio.Lock()
        self._in_flight = InFlightKeys()
        self._feed = Feed(self._changes_behind, limits)
        self._snapshots = Places(limits.snapshots, limits.snapshots_per_key, TOO_MANY_STREAMS)

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:  # noqa: ARG002
        yield self.reading_unit(MemoryReading(self._tables))

    @asynccontextmanager
    async def snapshot(self, context: RequestContext) -> AsyncIterator[MemoryReadStores]:
        with self._snapshots.one(context.actor):
            yield self.reading_unit(MemoryReading(self._tables.copy()))

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[MemoryUnitOfWork]:
        key = None if context.dry_run else context.idempotency_key
        with self._in_flight.claim(context.actor, key):
            async with self._write_lock:
                work = self.writing_unit(self._tables, context, self._clock)
                if key:
                    work.require_first(key)
                try:
                    yield work
                finally:
                    work.unit.has_ended = True
        if work.seq is not None:
            self._feed.committed(work.seq)

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def require_ready(self) -> None:
        """Memory is always ready."""

    async def _changes_behind(self, seq: int) -> Sequence[Change]:
        async with self.reading() as work:
            return await work.changes.list(since=seq, limit=READ_AT_ONCE)

    async def begin_epoch(self, *, beyond: int = 0) -> int:
        async with self._write_lock:
            return self._tables.begin_epoch(beyond, self._clock())

    async def later(self, job: Callable[[], Awaitable[None]], what: str) -> None:
        await guarded(job, what)

    async def scrubbed(self) -> bool:
        return True

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        return await self._feed.wait_beyond(since, within_s, filter, context.actor)

    def release(self) -> None:
        self._feed.release()

    async def pause(self, attempt: int) -> None:
        """Returns immediately: units in memory are never contended."""

"""The same promises without a database: for unit tests of services, and for trying things out.

A writing unit copies what is committed when it begins and puts the copy in its place when it commits: a forgotten
commit loses data exactly as in SQL. Units that write take write_lock, as they do on SQLite.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from functools import cmp_to_key
from typing import Any, Final, Generic, TypeVar

from domain.changes import Change, Entity, Journal
from domain.errors import Conflict, Gone, NotFound, Stale
from domain.filters import Filter, matches
from domain.idempotency import REMEMBERED_FOR, IdempotencyKey, InFlightKeys, replay
from domain.keys import Digest, Key, NewKey, Scope
from domain.pages import BY_ID, Keys, Position, Sort
from domain.users import NewUser, User, UserKey
from domain.values import fold
from domain.work import Clock, RequestContext, utc_now
from repositories.feed import Feed

USER_KEYS: Final[Mapping[str, Callable[[str], str]]] = {"email": fold, "username": fold, "external_id": str}
"""The fields that tell living users apart, each with the form in which it does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is remembered for its idempotency key, and the entity (kind and id) that it tells of."""

    entity: tuple[str, int]
    fingerprint: str
    answer: str
    at: datetime


E = TypeVar("E", bound=Entity)


@dataclass(slots=True)
class Table(Generic[E]):
    """The entities of one kind. It takes in and gives out copies: entities are frozen, what they hold may not be.

    `keys` are the fields that tell entities apart that are not deleted, each with the form in which it does.
    """

    kind: str
    keys: Mapping[str, Callable[[str], str]]
    rows: dict[int, E] = field(default_factory=dict)
    last_id: int = 0

    def __copy__(self) -> "Table[E]":
        return replace(self, rows=dict(self.rows))

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def get(self, id: int) -> E:
        return deepcopy(self._row(id))

    def find(self, key: str, value: str) -> E:
        form = self.keys[key]
        for row in self.living():
            taken = getattr(row, key)
            if taken is not None and form(taken) == form(value):
                return deepcopy(row)
        raise NotFound(f"There is no {self.kind} with this {key}.")

    def living(self, filter: Filter | None = None) -> Sequence[E]:
        return [row for row in self.rows.values() if is_living(row) and matches(filter, row)]

    def page(self, filter: Filter | None, sort: Sort, after: Position | None, limit: int) -> Sequence[E]:
        rows = sorted(((sort.keys_of(row), row) for row in self.living(filter)), key=in_order_of(sort))
        last = None if after is None else sort.keys_at(after)
        following = [row for keys, row in rows if last is None or sort.compare(keys, last) > 0]
        return deepcopy(following[: max(0, limit)])

    def keep(self, entity: E) -> E:
        """What is now kept, for the journal. Raises `Conflict`."""
        if is_living(entity):
            self._refuse_taken_keys(entity)
        self.rows[entity.id] = kept = deepcopy(entity)
        return kept

    def at_version(self, entity: E) -> E:
        """What is kept of it, for the journal. Raises `Stale` and `NotFound`."""
        kept = self._row(entity.id)
        if kept.version != entity.version:
            raise Stale(f"The {self.kind} was changed meanwhile.")
        return kept

    def _row(self, id: int) -> E:
        if id not in self.rows:
            raise NotFound(f"There is no {self.kind} with this id.")
        return self.rows[id]

    def _refuse_taken_keys(self, entity: E) -> None:
        others = [other for other in self.living() if other.id != entity.id]
        for key, form in self.keys.items():
            value = getattr(entity, key)
            if value is not None and form(value) in {form(taken) for o in others if (taken := getattr(o, key))}:
                raise Conflict(key)


def is_living(entity: Entity) -> bool:
    return getattr(entity, "deleted_at", None) is None


def in_order_of(sort: Sort) -> Callable[[tuple[Keys, object]], Any]:
    """A key for `sorted`, of items that stand behind their sort keys."""
    return cmp_to_key(lambda one, other: sort.compare(one[0], other[0]))


@dataclass(frozen=True, slots=True)
class KeptKey:
    key: Key
    digests: Sequence[Digest] = ()


@dataclass(slots=True)
class Tables:
    """What is committed. Ids and sequence numbers count on, whatever is removed."""

    users: Table[User] = field(default_factory=lambda: Table(User.kind, USER_KEYS))
    changes: list[Change] = field(default_factory=list)
    keys: dict[int, KeptKey] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Entities are frozen, so a copy of what holds them is a snapshot."""
        return replace(self, **{each.name: copy(getattr(self, each.name)) for each in fields(self)})

    def become(self, other: "Tables") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))


class MemoryReadUsers:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, id: int, *, deleted: bool = False) -> User:
        user = self._tables.users.get(id)
        if user.deleted_at is not None and not deleted:
            raise Gone("This user is deleted.")
        return user

    async def find(self, key: UserKey, value: str) -> User:
        return self._tables.users.find(key, value)

    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Sequence[User]:
        return self._tables.users.page(filter, sort, after, limit)

    async def count(self, filter: Filter | None = None) -> int:
        return len(self._tables.users.living(filter))


class MemoryUsers(MemoryReadUsers):
    def __init__(self, tables: Tables, journal: Journal, now: datetime) -> None:
        super().__init__(tables)
        self._journal = journal
        self._now = now

    async def add(self, new: NewUser) -> User:
        id = self._tables.users.next_id()
        user = User(id=id, created_at=self._now, updated_at=self._now, version=1, **asdict(new))
        self._journal.added(self._tables.users.keep(user))
        return user

    async def save(self, user: User) -> User:
        before = self._tables.users.at_version(user)
        saved = replace(user, updated_at=self._now, version=user.version + 1)
        self._journal.saved(before, self._tables.users.keep(saved))
        return saved

    async def remove(self, user: User) -> None:
        self._journal.removed(self._tables.users.at_version(user))
        del self._tables.users.rows[user.id]


class MemoryChanges:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list(
        self,
        *,
        filter: Filter | None = None,
        since: int = 0,
        kind: str | None = None,
        entity_id: int | None = None,
        limit: int,
    ) -> Sequence[Change]:
        def asked_for(change: Change) -> bool:
            if kind is None:
                return matches(filter, change)
            return (change.kind, change.entity_id) == (kind, entity_id)

        found = (change for change in self._tables.changes if change.seq > since and asked_for(change))
        return [deepcopy(change) for change, _ in zip(found, range(limit), strict=False)]

    async def last(self) -> int:
        return len(self._tables.changes)


class MemoryReadKeys:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, id: int) -> Key:
        if id not in self._tables.keys:
            raise NotFound("There is no key with this id.")
        return self._tables.keys[id].key

    async def list(self, *, after: int = 0, limit: int) -> Sequence[Key]:
        keys = (each.key for id, each in sorted(self._tables.keys.items()) if id > after)
        return [key for key in keys if key.revoked_at is None][: max(0, limit)]

    async def digests(self, id: int) -> Sequence[Digest]:
        return list(self._tables.keys[id].digests) if id in self._tables.keys else []

    async def any(self) -> bool:
        return bool(self._tables.keys)


class MemoryKeys(MemoryReadKeys):
    def __init__(self, tables: Tables, journal: Journal, now: datetime) -> None:
        super().__init__(tables)
        self._journal = journal
        self._now = now

    async def add(self, new: NewKey) -> Key:
        id = len(self._tables.keys) + 1  # none is ever removed
        key = Key(id, new.name, new.scopes, self._now, self._now, version=1, expires_at=new.expires_at)
        self._tables.keys[id] = KeptKey(key)
        self._journal.added(key)
        return key

    async def add_first(self, new: NewKey) -> Key:
        if self._tables.keys:
            raise Conflict("id")
        return await self.add(new)

    async def save(self, key: Key) -> Key:
        before = await self.get(key.id)
        if before.version != key.version:
            raise Stale("The key was changed meanwhile.")
        saved = replace(key, updated_at=self._now, version=key.version + 1, last_used_at=before.last_used_at)
        self._tables.keys[key.id] = replace(self._tables.keys[key.id], key=saved)
        self._journal.saved(before, saved)
        return saved

    async def keep_digests(self, id: int, digests: Sequence[Digest]) -> None:
        self._tables.keys[id] = replace(self._tables.keys[id], digests=tuple(digests))

    async def touch(self, id: int, at: datetime) -> None:
        kept = self._tables.keys[id]
        self._tables.keys[id] = replace(kept, key=replace(kept.key, last_used_at=at))

    async def has_other_admin(self, than: int, at: datetime) -> bool:
        others = [each.key for id, each in self._tables.keys.items() if id != than]
        return any(Scope.KEYS_ADMIN in key.scopes and key.is_valid_at(at) for key in others)


@dataclass(frozen=True, slots=True)
class MemoryReadingUnit:
    users: MemoryReadUsers
    changes: MemoryChanges
    keys: MemoryReadKeys

    @classmethod
    def on(cls, tables: Tables) -> "MemoryReadingUnit":
        return cls(users=MemoryReadUsers(tables), changes=MemoryChanges(tables), keys=MemoryReadKeys(tables))


class MemoryUnitOfWork:
    def __init__(self, committed: Tables, context: RequestContext, clock: Clock) -> None:
        self.now = clock()
        context.seq = None
        self._committed = committed
        self._tables = committed.copy()
        self._context = context
        self._journal = Journal()
        self.users = MemoryUsers(self._tables, self._journal, self.now)
        self.changes = MemoryChanges(self._tables)
        self.keys = MemoryKeys(self._tables, self._journal, self.now)

    def find_answer(self, idempotency_key: IdempotencyKey) -> None:
        kept = self._tables.answers.get((self._context.actor, idempotency_key.key))
        if kept is not None and kept.at > self.now - REMEMBERED_FOR:
            raise replay(idempotency_key, kept.fingerprint, kept.answer)

    async def commit(self) -> None:
        if self._context.dry_run:
            return
        who = self._context
        for removed in self._journal.removed_entities:
            self._forget((removed.kind, removed.id))
        for new in self._journal.changes(actor=who.actor, request_id=who.request_id, at=self.now):
            who.seq = len(self._tables.changes) + 1
            self._tables.changes.append(Change(**asdict(new), seq=who.seq))
        if who.idempotency_key and who.seq and (written := self._journal.last):
            answer = Answer(
                (written.kind, written.id),
                who.idempotency_key.fingerprint,
                who.idempotency_key.answer(written, who.seq),
                self.now,
            )
            self._tables.answers[who.actor, who.idempotency_key.key] = answer
        self._committed.become(self._tables.copy())

    def _forget(self, entity: tuple[str, int]) -> None:
        self._tables.changes = [
            replace(change, before=None, after=None) if (change.kind, change.entity_id) == entity else change
            for change in self._tables.changes
        ]
        self._tables.answers = {key: each for key, each in self._tables.answers.items() if each.entity != entity}


class MemoryUnitsOfWork:
    """A whole directory in memory. Two of them know nothing of each other."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._tables = Tables()
        self._clock = clock
        self._turn = asyncio.Lock()
        self._in_flight = InFlightKeys()
        self._feed = Feed(self._last_seq)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[MemoryReadingUnit]:
        yield MemoryReadingUnit.on(self._tables)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[MemoryReadingUnit]:
        yield MemoryReadingUnit.on(self._tables.copy())

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[MemoryUnitOfWork]:
        idempotency_key = None if context.dry_run else context.idempotency_key
        with self._in_flight.claim(context.actor, idempotency_key):
            async with self._turn:
                work = MemoryUnitOfWork(self._tables, context, self._clock)
                if idempotency_key:
                    work.find_answer(idempotency_key)
                yield work

        if context.seq is not None:
            self._feed.committed(context.seq)

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def is_ready(self) -> bool:
        return True

    async def _last_seq(self) -> int:
        return len(self._tables.changes)

    async def changed(self, since: int, within_s: float) -> float:
        return await self._feed.wait_beyond(since, within_s)

    def release(self) -> None:
        self._feed.release()

    async def pause(self, attempt: int) -> None:
        """Never contended, so never waited for."""

"""The same promises without a database: for unit tests of services, and for trying things out.

A writing unit copies what is committed when it begins and puts the copy in its place when it commits: a forgotten
commit loses data exactly as in SQL. Units that write take turns, as they do on SQLite.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cmp_to_key
from typing import Any, Final

from domain.changes import Change, Journal
from domain.errors import Conflict, Gone, NotFound, Stale
from domain.filters import Filter, matches
from domain.pages import BY_ID, Keys, Position, Sort
from domain.users import NewUser, User
from domain.values import fold
from domain.work import Clock, Occasion, utc_now

USER_KEYS: Final[Mapping[str, Callable[[str], str]]] = {"email": fold, "username": fold, "external_id": str}
"""The fields that tell living users apart, each with the form in which it does."""


@dataclass(slots=True)
class Tables:
    """What is committed. Ids and sequence numbers count on, whatever is removed."""

    users: dict[int, User] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    last_user_id: int = 0

    def copy(self) -> "Tables":
        """Entities are frozen, so a copy of what holds them is a snapshot."""
        return replace(self, users=dict(self.users), changes=list(self.changes))

    def become(self, other: "Tables") -> None:
        self.users, self.changes, self.last_user_id = other.users, other.changes, other.last_user_id


class MemoryReadUsers:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, id: int) -> User:
        user = self._find(id)
        if user.deleted_at is not None:
            raise Gone("This user is deleted.")
        return deepcopy(user)

    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Sequence[User]:
        rows = sorted(((sort.keys_of(user), user) for user in self._matching(filter)), key=in_order_of(sort))
        last = None if after is None else sort.keys_at(after)
        following = [user for keys, user in rows if last is None or sort.compare(keys, last) > 0]
        return deepcopy(following[:limit])

    async def count(self, filter: Filter | None = None) -> int:
        return len(self._matching(filter))

    def _matching(self, filter: Filter | None) -> Sequence[User]:
        return [user for user in self._tables.users.values() if user.deleted_at is None and matches(filter, user)]

    def _find(self, id: int) -> User:
        if id not in self._tables.users:
            raise NotFound("There is no user with this id.")
        return self._tables.users[id]


def in_order_of(sort: Sort) -> Callable[[tuple[Keys, object]], Any]:
    """A key for `sorted`, of items that stand behind their sort keys."""
    return cmp_to_key(lambda one, other: sort.compare(one[0], other[0]))


class MemoryUsers(MemoryReadUsers):
    def __init__(self, tables: Tables, journal: Journal, now: datetime) -> None:
        super().__init__(tables)
        self._journal = journal
        self._now = now

    async def add(self, new: NewUser) -> User:
        self._tables.last_user_id += 1
        id = self._tables.last_user_id
        user = User(id=id, created_at=self._now, updated_at=self._now, version=1, **asdict(new))
        self._keep(user)
        self._journal.added(user)
        return deepcopy(user)

    async def save(self, user: User) -> User:
        before = self._find(user.id)
        if before.version != user.version:
            raise Stale("The user was changed meanwhile.")
        saved = replace(deepcopy(user), updated_at=self._now, version=user.version + 1)
        self._keep(saved)
        self._journal.saved(before, saved)
        return deepcopy(saved)

    def _keep(self, user: User) -> None:
        if user.deleted_at is None:
            self._refuse_taken_keys(user)
        self._tables.users[user.id] = user

    def _refuse_taken_keys(self, user: User) -> None:
        others = [other for other in self._tables.users.values() if other.deleted_at is None and other.id != user.id]
        for key, form in USER_KEYS.items():
            value = getattr(user, key)
            if value is not None and form(value) in {form(taken) for o in others if (taken := getattr(o, key))}:
                raise Conflict(key)


class MemoryChanges:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list(
        self, *, since: int = 0, kind: str | None = None, entity_id: int | None = None, limit: int
    ) -> Sequence[Change]:
        found = (
            change
            for change in self._tables.changes
            if change.seq > since and (kind is None or (change.kind, change.entity_id) == (kind, entity_id))
        )
        return [deepcopy(change) for change, _ in zip(found, range(limit), strict=False)]


@dataclass(frozen=True, slots=True)
class MemoryReadingUnit:
    users: MemoryReadUsers
    changes: MemoryChanges


class MemoryUnitOfWork:
    def __init__(self, committed: Tables, occasion: Occasion, clock: Clock) -> None:
        self.now = clock()
        self._committed = committed
        self._tables = committed.copy()
        self._occasion = occasion
        self._journal = Journal()
        self.users = MemoryUsers(self._tables, self._journal, self.now)
        self.changes = MemoryChanges(self._tables)

    async def commit(self) -> None:
        if self._occasion.dry_run:
            return
        who = self._occasion
        for new in self._journal.changes(actor=who.actor, request_id=who.request_id, at=self.now):
            self._tables.changes.append(Change(**asdict(new), seq=len(self._tables.changes) + 1))
        self._committed.become(self._tables.copy())


class MemoryUnitsOfWork:
    """A whole directory in memory. Two of them know nothing of each other."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._tables = Tables()
        self._clock = clock
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[MemoryReadingUnit]:
        yield MemoryReadingUnit(users=MemoryReadUsers(self._tables), changes=MemoryChanges(self._tables))

    @asynccontextmanager
    async def writing(self, occasion: Occasion) -> AsyncIterator[MemoryUnitOfWork]:
        async with self._turn:
            yield MemoryUnitOfWork(self._tables, occasion, self._clock)

    async def pause(self, attempt: int) -> None:
        """Never contended, so never waited for."""

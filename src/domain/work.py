"""Units of work: one transaction each, begun by a service method and committed as its last step."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from domain.changes import Changes, ReadChanges
from domain.deliveries import Deliveries, ReadDeliveries
from domain.entities import Entity
from domain.groups import Groups, ReadGroups
from domain.idempotency import Committed, IdempotencyKey
from domain.keys import Keys, ReadKeys, Scope
from domain.leases import Leases, ReadLeases
from domain.links import Links, ReadLinks
from domain.lists.filters import Filter
from domain.memberships import Memberships, ReadMemberships
from domain.nestings import Nestings, ReadNestings
from domain.stores import Store
from domain.users import ReadUsers, Users
from domain.webhooks import ReadWebhooks, Webhooks

T = TypeVar("T")
N = TypeVar("N")
E = TypeVar("E", bound=Entity)

Clock = Callable[[], datetime]
"""Returns the time, aware and in UTC."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """Who calls, in which request, with which scopes; whether it is a dry run; its idempotency key, if any."""

    actor: str
    request_id: str
    scopes: Collection[Scope] | None = None
    """What the actor may do; None for everything."""

    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None

    min_seq: int | None = None
    """Its reads may come from a replica that has all changes up to this number. None: only from the primary."""

    seen: int | None = None
    """Reading units set it: what they showed has all changes up to this number, and perhaps later ones."""

    def require_seq(self, seq: int) -> None:
        """From now on read from no place that does not have this change."""
        if self.min_seq is not None:
            self.min_seq = max(self.min_seq, seq)


class ReadingUnit(Protocol):
    """The stores, to read. Each answer is what was committed when it was given."""

    @property
    def users(self) -> ReadUsers: ...
    @property
    def groups(self) -> ReadGroups: ...
    @property
    def memberships(self) -> ReadMemberships: ...
    @property
    def nestings(self) -> ReadNestings: ...
    @property
    def keys(self) -> ReadKeys: ...
    @property
    def links(self) -> ReadLinks: ...
    @property
    def webhooks(self) -> ReadWebhooks: ...
    @property
    def deliveries(self) -> ReadDeliveries: ...
    @property
    def leases(self) -> ReadLeases: ...
    @property
    def changes(self) -> ReadChanges: ...


class UnitOfWork(Protocol):
    """The stores in one transaction. Leaving the unit without `commit` undoes everything.

    A refused write ends the unit: whatever it is asked after that raises `UnitEnded`.
    """

    @property
    def users(self) -> Users: ...
    @property
    def groups(self) -> Groups: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def nestings(self) -> Nestings: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def links(self) -> Links: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def changes(self) -> Changes: ...

    @property
    def now(self) -> datetime:
        """The time of everything that this unit writes."""
        ...

    async def commit(self, result: T) -> Committed[T]:
        """Store what the stores did, with a change for each entity. On a dry run check it, then undo it.

        `result` is the result of the service. With an idempotency key it has to be an entity, which the stored answer
        shows. If an entity was erased, its values are erased from its old changes and from stored answers.

        Raises `Contended` if another transaction came first, `Uncertain` if the connection broke meanwhile.
        """
        ...

    async def commit_new(self, store: Store[N, E], new: N) -> Committed[E]:
        """As `commit(await store.add(new))`, for a unit that does nothing else: at half the price.

        Raises what both raise.
        """
        ...


class UnitsOfWork(Protocol):
    """A whole directory. Services get their units of work from it."""

    async def start(self) -> None:
        """Get ready to serve. Does nothing if it is ready. Raises `NotReady`, for the operator, if it cannot be."""
        ...

    async def stop(self) -> None: ...

    async def require_ready(self) -> None:
        """Raises a refusal if reads do not work, `NotReady` if the schema is not the one that this version needs."""
        ...

    def reading(self, context: RequestContext | None = None) -> AbstractAsyncContextManager[ReadingUnit]:
        """Stores to read. With a context, from a replica if there is one that has what the context requires.

        Without one from the primary: what decides (keys, leases) must not be old. Units of one context do not go back
        in time. Raises `Contended` if a replica does not answer; after that, this context reads from the primary.
        """
        ...

    def snapshot(self, context: RequestContext) -> AbstractAsyncContextManager[ReadingUnit]:
        """Stores that all show the state of one moment, for a long list. From a replica, as `reading`.

        Raises `Busy` while there are too many, in all or of this actor.
        """
        ...

    def writing(self, context: RequestContext) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work for this request. With an idempotency key, unless it is a dry run:

        Raises `AlreadyDone` if a unit with this key was committed in the last 24 hours, `IdempotencyKeyReused` if that
        was another request, `InFlight` if one is under way.
        """
        ...

    def later(self, job: Callable[[], Awaitable[None]], what: str) -> Awaitable[None]:
        """Do this soon, and let no request wait for it. What goes wrong is logged, with what it was."""
        ...

    def scrubbed(self) -> Awaitable[bool]:
        """Whether all that was erased has left the files of the database. Waits for it for a second or so."""
        ...

    def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> Awaitable[float]:
        """Wait for a change that matches, with a higher sequence number than `since`, for at most `within_s` seconds.

        Returns how many of them are left. After `release` that is 0. Raises `Busy` while too many wait, in all or of
        this actor.
        """
        ...

    def release(self) -> None:
        """End all waits for changes, because the server is about to stop."""
        ...

    async def begin_epoch(self, *, beyond: int = 0) -> int:
        """Continue counting above all numbers that may have been given out, after a restore from a backup.

        `beyond` is the highest one that is known. Returns the number after which all ids and changes are counted now.
        Those after the last change up to this one are positions that have expired (see `ReadChanges.has_expired`).
        """
        ...

    def pause(self, attempt: int) -> Awaitable[None]:
        """The wait before a contended unit is run again for the `attempt`-th time, counted from 1."""
        ...

"""Units of work. Each is one transaction, which a service method begins, and commits as its last step."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from domain.changes import Changes, ReadChanges
from domain.delivery.deliveries import Deliveries, ReadDeliveries
from domain.delivery.leases import Leases, ReadLeases
from domain.delivery.webhooks import ReadWebhooks, Webhooks
from domain.entities import Entity
from domain.groups import Groups, ReadGroups
from domain.idempotency import Committed, IdempotencyKey
from domain.keys import Keys, ReadKeys, Scope
from domain.links import Links, ReadLinks
from domain.lists.filters import Filter
from domain.memberships import Memberships, ReadMemberships
from domain.nestings import Nestings, ReadNestings
from domain.stores import Store
from domain.users import ReadUsers, Users

T = TypeVar("T")
N = TypeVar("N")
E = TypeVar("E", bound=Entity)

Clock = Callable[[], datetime]
"""Returns the present time, in UTC and with its time zone."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """The caller, the id of the request, the caller's scopes, whether it is a dry run, and the idempotency key, if
    any."""

    actor: str
    request_id: str
    scopes: Collection[Scope] | None = None
    """The scopes of the actor. None allows everything."""

    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None

    can_wait: bool = False
    """Nobody waits for the commits, so each may wait a moment for another one, to share its cost."""

    min_seq: int | None = None
    """Reads may use a replica that has all changes up to this number. None: reads use only the primary."""

    seen: int | None = None
    """Set by reading units: what they returned shows all changes up to this number, and perhaps later ones."""

    def require_seq(self, seq: int) -> None:
        """From now on, read only where this change is visible."""
        if self.min_seq is not None:
            self.min_seq = max(self.min_seq, seq)


class ReadingUnit(Protocol):
    """The stores, for reading. Each read shows what is committed at that moment."""

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

    A refused write ends the unit: every later call raises `UnitEnded`.
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
        """Commit all writes, with a change for each entity. In a dry run, check everything and then undo it.

        `result` is the result of the service. With an idempotency key it has to be an entity, which the stored answer
        shows. If an entity was erased, its values are erased from its older changes and from stored answers.

        Raises `Contended` if another transaction was faster, `Uncertain` if the connection broke during the commit.
        """
        ...

    async def commit_new(self, store: Store[N, E], new: N) -> Committed[E]:
        """The same as `commit(await store.add(new))`, for a unit that does nothing else. It costs half as much.

        Raises what `add` and `commit` raise.
        """
        ...


class UnitsOfWork(Protocol):
    """A directory. Services get their units of work from it."""

    async def start(self) -> None:
        """Open the database. Does nothing if it is open. Raises `NotReady`, with a message for the operator, if that
        fails."""
        ...

    async def stop(self) -> None: ...

    async def require_ready(self) -> None:
        """Raises a refusal if reads fail, and `NotReady` if the schema is not the one that this version of Roster
        needs."""
        ...

    def reading(self, context: RequestContext | None = None) -> AbstractAsyncContextManager[ReadingUnit]:
        """The stores, for reading. With a context, a replica is used if one has all changes that the context requires.

        Without a context the primary is used, because decisions (about keys or leases) must not depend on old data.
        Later units of a context never show an older state than earlier ones. Raises `Contended` if a replica fails.
        After that, this context uses the primary.
        """
        ...

    def snapshot(self, context: RequestContext) -> AbstractAsyncContextManager[ReadingUnit]:
        """The stores as they are at one moment, for reading a long list. May use a replica, as `reading`.

        Raises `Busy` while there are too many snapshots, in total or of this actor.
        """
        ...

    def writing(self, context: RequestContext) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work for this request.

        With an idempotency key, and not in a dry run, it raises `AlreadyDone` if a unit with this key was committed in
        the last 24 hours, `IdempotencyKeyReused` if that was for another request, and `InFlight` if such a unit is
        still open.
        """
        ...

    def later(self, job: Callable[[], Awaitable[None]], what: str) -> Awaitable[None]:
        """Run a job in the background. If it fails, the error is logged, with `what` as the description of the job."""
        ...

    def scrubbed(self) -> Awaitable[bool]:
        """Whether all erased values have been removed from the database's files. Waits for this for about a second."""
        ...

    def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> Awaitable[float]:
        """Wait up to `within_s` seconds for a change that matches and has a higher number than `since`.

        Returns the seconds that are left, and 0 after `release`. Raises `Busy` while too many requests wait, in total
        or of this actor.
        """
        ...

    def release(self) -> None:
        """End all waits for changes, because the server stops soon."""
        ...

    async def begin_epoch(self, *, beyond: int = 0) -> int:
        """After a restore from a backup, continue counting above all numbers that may have been used.

        `beyond` is the highest number that is known. Returns the number after which all ids and changes are now
        counted. The positions from the last change up to this number have expired (see `ReadChanges.has_expired`).
        """
        ...

    def pause(self, attempt: int) -> Awaitable[None]:
        """Wait before a contended unit is run again. `attempt` is the number of runs so far, from 1."""
        ...

"""What a store gets from its unit of work: the executor, and the state of the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from domain.entities import Entity
from domain.errors import UnitEnded
from domain.journal import Journal
from domain.references import Subject
from repositories.engines.database import Database
from repositories.engines.executors import Executor, Transaction
from repositories.locks import LockOrder

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncSession

    from repositories.engines.sessions import OpenSession


@dataclass(slots=True, kw_only=True)
class Unit:
    """What reading and writing units share: a session, if a store asks for it."""

    database: Database
    opened: "OpenSession | None" = field(default=None, init=False)
    has_ended: bool = field(default=False, init=False)

    @property
    def session(self) -> "AsyncSession":
        """SQLAlchemy's AsyncSession, created at its first use. Raises `UnitEnded`."""
        if self.has_ended:
            raise UnitEnded
        if self.opened is None:
            self.opened = self.make_session()
        return self.opened.session

    def make_session(self) -> "OpenSession":
        raise NotImplementedError

    async def settle(self) -> None:
        """Called before the unit commits: the session writes its changes and ends."""
        if self.opened is not None:
            await self.opened.settle()
        self.end()

    def end(self) -> None:
        self.has_ended = True
        if self.opened is not None:
            self.opened.end()


@dataclass(slots=True)
class Reading(Unit):
    """What stores of a reading unit get. Reads that may scan a table have a separate executor."""

    executor: Executor
    scans: Executor

    def make_session(self) -> "OpenSession":
        from repositories.engines.sessions import OpenSession  # noqa: PLC0415  # it loads the ORM

        return OpenSession(self.database.engine, self.scans)  # its reads may take long


class References(Protocol):
    """The references between all entities, as stores use them: see `repositories.tables.relations`."""

    async def require(
        self, unit: "Writing", entity: type[Entity], new: object, before: Entity | None = None
    ) -> None: ...
    async def require_many(
        self, unit: "Writing", entity: type[Entity], pairs: Sequence[tuple[Any, Entity | None]]
    ) -> None: ...
    async def release(self, unit: "Writing", entities: Sequence[Entity], *, erased: bool) -> None: ...
    async def bring_back(self, unit: "Writing", entities: Sequence[Entity]) -> None: ...
    async def end_all(self, unit: "Writing", table: Any, field: str, id: int) -> int: ...


@dataclass(slots=True)
class Writing(Unit):
    """What stores of a writing unit get. Reads and writes are in one transaction."""

    executor: Transaction
    now: datetime
    actor: str
    request_id: str
    commit_order: "sa.Select[Any] | None"
    """The statement that runs before a change is numbered (see `Database.commit_order`)."""

    relations: References
    locks: LockOrder
    journal: Journal = field(default_factory=Journal)
    known: dict[Subject, Entity] = field(default_factory=dict)
    """Entities as this unit last saw them. For the journal they are the state before a write."""

    def make_session(self) -> "OpenSession":
        from repositories.engines.sessions import WritingSession  # noqa: PLC0415  # it loads the ORM

        return WritingSession(self.database.engine, self.executor, self.journal, forget=self.forget)

    def fail(self) -> None:
        self.executor.fail()

    def forget(self) -> None:
        """Forget all known entities, because a savepoint was undone and they may be different now."""
        self.known.clear()

    @property
    def scans(self) -> Executor:
        return self.executor

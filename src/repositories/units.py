"""What a store gets from its unit of work: where statements run, and what a transaction knows."""

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
    """What both have: a session, if somebody asks for it."""

    database: Database
    opened: "OpenSession | None" = field(default=None, init=False)
    has_ended: bool = field(default=False, init=False)

    @property
    def session(self) -> "AsyncSession":
        """SQLAlchemy's own, made when it is first asked for. Raises `UnitEnded`."""
        if self.has_ended:
            raise UnitEnded
        if self.opened is None:
            self.opened = self.make_session()
        return self.opened.session

    def make_session(self) -> "OpenSession":
        raise NotImplementedError

    async def settle(self) -> None:
        """The unit is about to commit: the session writes what it has, and ends."""
        if self.opened is not None:
            await self.opened.settle()
        self.end()

    def end(self) -> None:
        self.has_ended = True
        if self.opened is not None:
            self.opened.end()


@dataclass(slots=True)
class Reading(Unit):
    """Reads. Those that may scan a table take an executor of their own."""

    executor: Executor
    scans: Executor

    def make_session(self) -> "OpenSession":
        from repositories.engines.sessions import OpenSession  # noqa: PLC0415  # it loads the ORM

        return OpenSession(self.database.engine, self.scans)  # what it reads may take long


class References(Protocol):
    """What a store asks of the references between all entities: see `repositories.tables.relations`."""

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
    """Reads and writes in one transaction."""

    executor: Transaction
    now: datetime
    actor: str
    request_id: str
    commit_order: "sa.Select[Any] | None"
    """What runs before a change is numbered (see `Database.commit_order`)."""

    relations: References
    locks: LockOrder
    journal: Journal = field(default_factory=Journal)
    known: dict[Subject, Entity] = field(default_factory=dict)
    """Entities as this unit last saw them: what the journal calls "before"."""

    def make_session(self) -> "OpenSession":
        from repositories.engines.sessions import WritingSession  # noqa: PLC0415  # it loads the ORM

        return WritingSession(self.database.engine, self.executor, self.journal, forget=self.forget)

    def fail(self) -> None:
        self.executor.fail()

    def forget(self) -> None:
        """Entities may not be as they were last seen any more: a savepoint was undone."""
        self.known.clear()

    @property
    def scans(self) -> Executor:
        return self.executor

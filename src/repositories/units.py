"""What a store gets from its unit of work: where statements run, and what a transaction knows."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from domain.changes import Journal
from domain.entities import Entity
from domain.references import Subject
from repositories.engines.executors import Executor, Transaction
from repositories.locks import LockOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa


@dataclass(slots=True)
class Reading:
    """Reads. Those that may scan a table take an executor of their own."""

    executor: Executor
    scans: Executor


class Related(Protocol):
    """What the entities of a directory declare of each other: `repositories.relations.Relations`."""

    async def require(
        self, unit: "Writing", entity: type[Entity], new: object, before: Entity | None = None
    ) -> None: ...
    async def release(self, unit: "Writing", entity: Entity, *, erased: bool) -> None: ...
    async def end_all(self, unit: "Writing", table: Any, field: str, id: int, *, hidden: bool = True) -> int: ...
    def kinds_about(self, kind: str) -> "Sequence[str]": ...


@dataclass(slots=True)
class Writing:
    """Reads and writes in one transaction."""

    executor: Transaction
    now: datetime
    actor: str
    request_id: str
    commit_order: "sa.Select[Any] | None"
    """What runs before a change is numbered (see `Database.commit_order`)."""

    relations: "Related"
    locks: LockOrder
    journal: Journal = field(default_factory=Journal)
    known: dict[Subject, Entity] = field(default_factory=dict)
    """Entities as this unit last saw them: what the journal calls "before"."""

    @property
    def scans(self) -> Executor:
        return self.executor

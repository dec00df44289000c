"""What a store gets from its unit of work: where statements run, and what a transaction knows."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from domain.changes import Journal
from domain.entities import Entity
from domain.references import Subject
from repositories.engines.executors import Executor, Transaction
from repositories.locks import LockOrder

if TYPE_CHECKING:
    import sqlalchemy as sa

    from repositories.relations import Relations


@dataclass(slots=True)
class Reading:
    """Reads. Those that may scan a table take an executor of their own."""

    executor: Executor
    scans: Executor


@dataclass(slots=True)
class Writing:
    """Reads and writes in one transaction."""

    executor: Transaction
    now: datetime
    actor: str
    request_id: str
    commit_order: "sa.Select[Any] | None"
    """What runs before a change is numbered (see `Database.commit_order`)."""

    relations: "Relations"
    locks: LockOrder
    journal: Journal = field(default_factory=Journal)
    known: dict[Subject, Entity] = field(default_factory=dict)
    """Entities as this unit last saw them: what the journal calls "before"."""

    @property
    def scans(self) -> Executor:
        return self.executor

"""Executors: they run the statements of stores. A store does not know whether its executor is a transaction.

A reading unit of work gets an executor of its database, and a writing unit gets a transaction. Both compile SQLAlchemy
Core statements once and run them directly on the driver (see `repositories.engines.statements`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from domain.errors import Refusal, UnitEnded
from repositories.engines.statements import Parameters, Result, Rows


class Executor(Protocol):
    async def fetch(self, statement: sa.Executable, parameters: Parameters = ...) -> Rows:
        """All rows that the statement returns. Errors of the driver are raised as refusals."""
        ...

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        """Run a statement that a session has compiled for the driver. Raises what `fetch` raises.

        With `many`, `arguments` are several sequences. The statement runs once for each, and returns no rows.
        """
        ...


class Companion(Protocol):
    """A session in the same transaction as an executor."""

    async def make_way(self, statement: sa.Executable) -> None:
        """Called before each statement of the executor, so that each sees what the other has written."""
        ...


class Transaction(Executor, Protocol):
    """An executor in one transaction, which begins with its first statement."""

    companion: Companion | None

    can_wait: bool
    """Whether `commit` may wait a moment for other units, to share its cost."""

    async def fetch(self, statement: sa.Executable, parameters: Parameters = ..., *, last: bool = False) -> Rows:
        """As `Executor.fetch`. With `last`, the statement also commits, which saves SQLite a trip to the driver's
        thread."""
        ...

    async def write(
        self, statement: sa.Executable, parameters: Parameters = ..., *, otherwise: Refusal | None = None
    ) -> None:
        """Run a statement whose rows are not needed. SQLite runs it together with the next fetched statement, or the
        commit.

        So its errors may be raised there: what `fetch` raises, and `otherwise` if the statement has no rows.
        """
        ...

    async def commit(self) -> None: ...

    @property
    def has_begun(self) -> bool:
        """Whether a statement has run."""
        ...

    async def run_alone(
        self, statements: Sequence[sa.Executable], parameters: Parameters, together: sa.Executable | None = None
    ) -> Rows:
        """Run these statements and commit, in one trip. They have to be the whole unit.

        Returns the rows of the last statement. Raises what `fetch` and `commit` raise. SQLite takes several statements.
        PostgreSQL takes one, and the statement that does the same for several units `together`, as rows of one
        parameter.
        """
        ...

    def fail(self) -> None:
        """End the unit of work after a refused write. From then on `fetch` raises `UnitEnded`."""
        ...

    def require_open(self) -> None:
        """Raises `UnitEnded` if the unit of work has ended."""
        ...

    def recover(self) -> None:
        """Continue the unit of work: the refused write was in a savepoint that was undone."""
        ...

    async def rollback(self) -> None:
        """Undo everything that is not committed."""
        ...


class TransactionState:
    """The state that the transactions of both engines share: whether the unit of work has ended, and its session."""

    has_ended: bool = False
    companion: Companion | None = None
    can_wait: bool = False

    def fail(self) -> None:
        self.has_ended = True

    def recover(self) -> None:
        self.has_ended = False

    def require_open(self) -> None:
        if self.has_ended:
            raise UnitEnded

    async def make_way(self, statement: sa.Executable) -> None:
        if self.companion is not None:
            await self.companion.make_way(statement)

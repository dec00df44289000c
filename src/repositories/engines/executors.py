"""How a store's statements run. A store does not know whether its executor reads or is part of a transaction.

A reading unit of work gets an executor of its database, a writing one a transaction. Both run SQLAlchemy Core
statements, compiled once, straight on the driver (see `repositories.engines.statements`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from domain.errors import Refusal, UnitEnded
from repositories.engines.statements import Parameters, Result, Rows


class Executor(Protocol):
    async def fetch(self, statement: sa.Executable, parameters: Parameters = ...) -> Rows:
        """All rows that the statement returns. Raises the refusal that a driver's error means."""
        ...

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        """A statement in the driver's own form, as a session makes it. Raises as `fetch` does.

        With `many` it runs once for each of several sequences of arguments, and gives no rows.
        """
        ...


class Companion(Protocol):
    """A session in the same transaction as an executor."""

    async def make_way(self, statement: sa.Executable) -> None:
        """Called before each statement of the executor: both see what the other one wrote."""
        ...


class Transaction(Executor, Protocol):
    """An executor in one transaction, which begins with its first statement."""

    companion: Companion | None

    async def fetch(self, statement: sa.Executable, parameters: Parameters = ..., *, last: bool = False) -> Rows:
        """As `Executor.fetch`. The `last` statement also commits, which saves SQLite a trip to the driver's thread."""
        ...

    async def write(
        self, statement: sa.Executable, parameters: Parameters = ..., *, otherwise: Refusal | None = None
    ) -> None:
        """Run a statement whose rows nobody reads. SQLite runs it with the next one that is fetched, or the commit.

        So what it raises may be raised there: what `fetch` raises, and `otherwise` if there are no rows.
        """
        ...

    async def commit(self) -> None: ...

    @property
    def has_begun(self) -> bool:
        """Whether there was a statement."""
        ...

    async def run_alone(self, statements: Sequence[sa.Executable], parameters: Parameters) -> Rows:
        """Run these and commit, in one trip, if nothing has begun: they are the whole unit.

        Returns the rows of the last one. Raises what `fetch` and `commit` raise. SQLite takes several, PostgreSQL one.
        """
        ...

    def fail(self) -> None:
        """A refused write ended the unit of work. After it, and after the unit's end, `fetch` raises `UnitEnded`."""
        ...

    def require_open(self) -> None:
        """Raises `UnitEnded` if the unit of work has ended."""
        ...

    def recover(self) -> None:
        """The refused write was in a savepoint that is undone: the unit goes on."""
        ...

    async def rollback(self) -> None:
        """Undo what was not committed, if there is anything."""
        ...


class TransactionState:
    """What the transactions of both engines know of their unit of work: whether it has ended, and its session."""

    has_ended: bool = False
    companion: Companion | None = None

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

"""SQLAlchemy's AsyncSession in a unit of work: on its connection and in its transaction.

A unit creates its session, and imports this module, when a store first asks for it. The statements of the session run
through the executor of the unit (`Executor.run`). So beginning, waiting, cancellation and refusals work the same way
for the session and for stores.

A session never commits. `session.commit()` only flushes, and the unit commits. `session.rollback()` ends the unit, like
a refused write. Put writes that may fail without ending the unit into `session.begin_nested()`.

For mapped classes see `repositories.engines.records`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql import visitors
from sqlalchemy.util import await_

from domain.errors import Stale, UnitEnded
from domain.journal import Journal, Mark
from repositories.engines.executors import Executor, Transaction
from repositories.engines.schema import JOURNALLED
from repositories.engines.statements import Result

if TYPE_CHECKING:
    from domain.entities import Entity

CHANGED: Final = "It was changed meanwhile."
IN_SAVEPOINT: Final = "Leave `session.begin_nested()` before the unit of work commits."
ONLY_READS: Final = "This unit of work only reads: no flush, no write, no savepoint. Write in a unit of `writing`."

READS: Final = ("SELECT", "WITH", "VALUES", "EXPLAIN")
"""The first words of the statements that a reading unit may send. The database ensures that they write nothing."""


class Cursor:
    """A cursor as SQLAlchemy expects it from a driver (PEP 249)."""

    arraysize = 1

    def __init__(self, run: Callable[..., Result]) -> None:
        self._run = run
        self._rows: deque[Any] = deque()
        self.description: Sequence[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._take(self._run(sql, parameters))

    def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._take(self._run(sql, parameters, many=True))

    def _take(self, result: Result) -> None:
        self._rows = deque(result.rows)
        self.description, self.rowcount, self.lastrowid = result.description, result.rowcount, result.lastrowid

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        return [self._rows.popleft() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """AsyncSession calls this when it has a result. There is nothing to do, because all rows are fetched
        already."""


class Borrowed(PoolProxiedConnection):
    """The executor of a unit in the form of a connection from SQLAlchemy's pool.

    The unit itself ends the transaction and returns the connection. So `commit` and `close` do nothing here.
    """

    def __init__(self, executor: Executor, *, only_reads: bool, fail: Callable[[], None]) -> None:
        self._executor = executor
        self._only_reads = only_reads
        self._fail = fail
        self.is_over = False

    @property
    def is_valid(self) -> bool:
        return not self.is_over

    def cursor(self, *_: Any, **__: Any) -> Any:
        return Cursor(self.run)

    def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        if self.is_over:
            raise UnitEnded
        if self._only_reads and not sql.lstrip(" \n(").upper().startswith(READS):
            raise RuntimeError(ONLY_READS)
        return await_(self._executor.run(sql, arguments, many=many))

    def commit(self) -> None: ...

    def close(self) -> None: ...

    def rollback(self) -> None:
        self._fail()

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:  # noqa: ARG002
        """SQLAlchemy calls this when a statement was cancelled."""
        self._fail()


class UnitConnection(sa.Connection):
    """SQLAlchemy's connection in a unit of work. `recover` is called when a savepoint is undone."""

    def __init__(self, engine: sa.Engine, borrowed: Borrowed, journal: Journal, recover: Callable[[], None]) -> None:
        # After a cancelled statement, SQLAlchemy would open another connection outside of the unit.
        super().__init__(engine, borrowed, _allow_revalidate=False)
        self.journal = journal
        self.recover = recover
        self.is_flushing = False
        self.marks: dict[str, Mark] = {}


@event.listens_for(UnitConnection, "before_execute")
def mark_savepoint(connection: UnitConnection, statement: Any, *_: Any) -> None:
    if isinstance(statement, sa.SavepointClause):
        connection.marks[statement.ident] = connection.journal.mark()


@event.listens_for(UnitConnection, "rollback_savepoint")
def return_to_savepoint(connection: UnitConnection, name: str, _: None) -> None:
    if connection.closed:  # a statement was cancelled: SQLAlchemy reports the savepoint, but does not undo it
        return
    connection.journal.rewind(connection.marks[name])
    connection.recover()


@event.listens_for(UnitConnection, "before_execute")
def refuse_bulk(connection: UnitConnection, statement: Any, *_: Any) -> None:
    """Refuse bulk statements: a flush notes each row in the journal, but an UPDATE of many rows cannot."""
    if connection.is_flushing or not getattr(statement, "is_dml", False):
        return
    for table in visitors.iterate(statement.table):
        if way := getattr(table, "info", {}).get(JOURNALLED):
            raise RuntimeError(f"A bulk statement would leave no change rows for what it does to {table}. {way}")


class SyncSession(orm.Session):
    """The synchronous session inside the AsyncSession of a unit."""

    bind: UnitConnection

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.before: dict[Any, Entity] = {}
        """The objects that a flush will change or delete, as they were before, by their SQLAlchemy state."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        self.bind.is_flushing = True
        try:
            super().flush(objects)
        except StaleDataError as error:
            raise Stale(CHANGED) from error
        finally:
            self.bind.is_flushing = False
            self.before.clear()


def nothing() -> None:
    """Used by reading units, in which there is nothing to undo."""


class OpenSession:
    """The session of a unit, from its first use until the end of the unit. Without a journal it can only read."""

    def __init__(
        self,
        engine: AsyncEngine,
        executor: Executor,
        journal: Journal | None = None,
        *,
        fail: Callable[[], None] = nothing,
        recover: Callable[[], None] = nothing,
    ) -> None:
        self._borrowed = Borrowed(executor, only_reads=journal is None, fail=fail)
        connection = UnitConnection(
            engine.sync_engine, self._borrowed, Journal() if journal is None else journal, recover
        )
        self.session = AsyncSession(
            AsyncConnection(engine, connection),
            sync_session_class=SyncSession,
            expire_on_commit=False,
            close_resets_only=False,  # a closed session cannot be used again
        )

    async def settle(self) -> None:
        """Called before the unit commits."""

    def end(self) -> None:
        self._borrowed.is_over = True
        self.session.sync_session.close()


class WritingSession(OpenSession):
    """The session of a writing unit. It and the stores see each other's writes. `forget` drops what stores remember."""

    def __init__(
        self, engine: AsyncEngine, executor: Transaction, journal: Journal, *, forget: Callable[[], None]
    ) -> None:
        super().__init__(engine, executor, journal, fail=executor.fail, recover=self._recover)
        self._executor = executor
        self._forget = forget
        self._written_beside = False
        executor.companion = self

    async def make_way(self, statement: sa.Executable) -> None:
        await self._flush()
        if self.session.in_nested_transaction():
            await self.session.connection()  # SQLAlchemy sets a savepoint only with the first statement in it
        if not statement.is_select:
            self._written_beside = True
            self.session.expire_all()

    async def settle(self) -> None:
        if self.session.in_nested_transaction():
            raise RuntimeError(IN_SAVEPOINT)
        await self._flush()

    async def _flush(self) -> None:
        if self.session.new or self.session.dirty or self.session.deleted:
            await self.session.flush()

    def _recover(self) -> None:
        """After a savepoint was undone, undo in the stores too: what they noted and remember. The session undoes only
        its own part."""
        self._executor.recover()
        self._forget()
        if self._written_beside:
            self.session.expire_all()

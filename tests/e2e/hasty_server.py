"""A broken server, which answers before it commits. The test of sudden ends has to detect it.

Its units of work say that they have committed and keep their transaction open: the commit is to come later, and the
end of the process comes first.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from dependency_injector import providers

import api.process.server
from api.commands.main import app
from api.container import Container
from domain.errors import Refusal
from domain.work import RequestContext
from repositories.engines.executors import Companion, Transaction
from repositories.engines.statements import Parameters, Result, Rows
from repositories.work.units_of_work import SqlUnitOfWork, SqlUnitsOfWork

LATER = AsyncExitStack()


class Hasty:
    """A transaction that does everything except the commit."""

    companion: Companion | None = None
    can_wait = False
    has_begun = True

    def __init__(self, executor: Transaction) -> None:
        self._executor = executor

    async def fetch(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, last: bool = False
    ) -> Rows:
        return await self._executor.fetch(statement, parameters or {})

    async def write(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, otherwise: Refusal | None = None
    ) -> None:
        await self._executor.write(statement, parameters or {}, otherwise=otherwise)

    async def run_alone(
        self, statements: Sequence[sa.Executable], parameters: Parameters, together: sa.Executable | None = None
    ) -> Rows:
        raise NotImplementedError

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        return await self._executor.run(sql, arguments, many=many)

    def fail(self) -> None:
        self._executor.fail()

    def require_open(self) -> None:
        self._executor.require_open()

    def recover(self) -> None:
        self._executor.recover()

    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...


class HastyUnits(SqlUnitsOfWork):
    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[SqlUnitOfWork]:
        executor = await LATER.enter_async_context(self._database.transaction())
        yield SqlUnitOfWork(self._database, Hasty(executor), context, self._clock(), self._relations)


class HastyContainer(Container):
    units = providers.Singleton(HastyUnits, Container.database, Container.clock)
    users = providers.Factory(Container.users.provides, units)


if __name__ == "__main__":
    with patch.object(api.process.server, "Container", HastyContainer):
        app()

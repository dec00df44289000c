"""A broken server, to show that the test of sudden ends would catch one: it answers before it commits.

Its units of work say that they have committed and keep their transaction open: the commit is to come later, and the
end of the process comes first.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from unittest.mock import patch

from dependency_injector import providers

import api.server
from api.cli import app
from api.container import Container
from domain.work import Occasion
from repositories.work import SqlUnitOfWork, SqlUnitsOfWork

LATER = AsyncExitStack()


class Hasty(SqlUnitOfWork):
    async def _commit(self) -> None: ...


class HastyUnits(SqlUnitsOfWork):
    @asynccontextmanager
    async def writing(self, occasion: Occasion) -> AsyncIterator[SqlUnitOfWork]:
        session = await LATER.enter_async_context(self._database.session())
        yield Hasty(self._database, session, occasion, self._clock)


class HastyContainer(Container):
    units = providers.Singleton(HastyUnits, Container.database, Container.clock)
    users = providers.Factory(Container.users.provides, units)


if __name__ == "__main__":
    with patch.object(api.server, "Container", HastyContainer):
        app()

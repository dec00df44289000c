"""A pool of asyncpg's connections, with a bound on the wait for one."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from domain.errors import Refusal
from repositories.engines.meter import Meter, Pool
from repositories.engines.postgres.errors import refuse_connection, refusing
from repositories.engines.schema import read_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    DriversPool = asyncpg.Pool[asyncpg.Record]


class Connections:
    """A pool whose callers wait at most `timeout_s` seconds for a connection."""

    def __init__(self, pool: "DriversPool", timeout_s: float, meter: Meter, name: Pool) -> None:
        self.meter = meter
        self._pool = pool
        self._timeout_s = timeout_s
        self._name: Pool = name
        meter.size(name, pool.get_max_size())

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def one(self) -> "AsyncIterator[Connection]":
        """Raises `Busy` after the time-out, and `Unreachable` if a connection cannot be made."""
        connection = await self._acquire()
        self.meter.in_use(self._name, 1)
        try:
            yield connection
        finally:
            self.meter.in_use(self._name, -1)
            await self._pool.release(connection)

    async def _acquire(self) -> "Connection":
        started = time.perf_counter()
        try:
            with refusing(refuse_connection):
                async with asyncio.timeout(self._timeout_s):  # the pool's own time-out makes a task for each call
                    return await self._pool.acquire()
        except Refusal as refusal:
            self.meter.failed(refusal)
            raise
        finally:
            self.meter.waited(self._name, time.perf_counter() - started)


async def read_json_as_stored(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=read_json)


async def leave_as_is(connection: Any) -> None:
    """No reset between uses: no connection here keeps a state, and the round trip costs as much as a read."""

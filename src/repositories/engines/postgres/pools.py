"""A pool of asyncpg's connections, with a bound on every wait: for one, for its rest, for the end of all.

A server that is frozen, or behind a network that is gone, answers nothing and refuses nothing. asyncpg then waits for
ever in three places: for the answer to a statement, unless there is a command time-out; for the end of a statement that
was given up, before the connection is used or released; and for the end of a connection that is closed.
"""

import asyncio
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from domain.errors import Contended, Refusal
from domain.limits import Limits
from repositories.engines.meter import Meter, Pool
from repositories.engines.postgres.errors import (
    DRIVER_ERRORS,
    READ_ONLY,
    busy,
    code_of,
    refusal_of_connection,
    translating_errors,
)
from repositories.engines.queues import Queue
from repositories.engines.schema import read_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    DriversPool = asyncpg.Pool[asyncpg.Record]


class Connections:
    """A pool whose callers wait at most `timeout_s` seconds for a connection, and not at all in a longer queue."""

    def __init__(self, pool: "DriversPool", timeout_s: float, limits: Limits, meter: Meter, name: Pool) -> None:
        self.meter = meter
        self._limits = limits
        self._pool = pool
        self._timeout_s = timeout_s
        self._queue = Queue(pool.get_max_size(), timeout_s)
        self._name: Pool = name

    async def close(self) -> None:
        """Close the connections, or cut them if the server does not answer in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stop_s):
                await self._pool.close()

    def cut(self) -> None:
        """End all connections now, and the statements on them: the server does not answer any more."""
        self._pool.terminate()

    @asynccontextmanager
    async def one(self) -> "AsyncIterator[Connection]":
        """Raises `Busy` after the time-out, or at once, and `Unreachable` if a connection cannot be made."""
        connection = await self._acquire()
        since = time.perf_counter()
        self.meter.in_use(self._name, 1)
        try:
            yield connection
        except Contended as refusal:
            if code_of(refusal.__cause__) == READ_ONLY:  # all lead to a server that was the primary
                await self._pool.expire_connections()
            raise
        finally:
            self.meter.in_use(self._name, -1)
            self._queue.held(time.perf_counter() - since)
            await self._release(connection)

    async def _release(self, connection: "Connection") -> None:
        """If a connection does not become idle in time, the pool cuts it, and makes another one when one is needed."""
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=self._limits.end_s)

    async def _acquire(self) -> "Connection":
        if self._queue.is_too_long:
            raise busy()
        started = time.perf_counter()
        self._queue.waiting += 1
        try:
            with translating_errors(refusal_of_connection):
                async with asyncio.timeout(self._timeout_s):  # the pool's own time-out makes a task for each call
                    return await self._pool.acquire()
        except Refusal as refusal:
            self.meter.failed(refusal)
            raise
        finally:
            self._queue.waiting -= 1
            self.meter.waited(self._name, time.perf_counter() - started)


async def undo(connection: "Connection", within_s: float) -> None:
    """Roll back. A connection that may still be in a transaction after that is cut: the pool makes another one."""
    try:
        async with asyncio.timeout(within_s):
            await connection.execute("ROLLBACK")
    except BaseException as error:
        cut(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


def cut(connection: "Connection") -> None:
    with suppress(asyncpg.InterfaceError):  # it is lost already
        connection.terminate()


KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""TCP keep-alive: after how many seconds of silence a peer is probed, how often, and how many probes may fail."""


async def prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    keep_alive(connection._transport.get_extra_info("socket"))  # type: ignore[attr-defined]  # noqa: SLF001  # no public way
    await read_json_as_stored(connection)


def keep_alive(peer: socket.socket) -> None:
    """Let the system find out that a peer is gone while its connection is idle. Local sockets do not need it."""
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every system has them
            peer.setsockopt(socket.IPPROTO_TCP, option, value)


async def read_json_as_stored(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=read_json)


async def leave_as_is(connection: Any) -> None:
    """No reset between uses: no connection here keeps a state, and the round trip costs as much as a read."""

"""A pool of asyncpg connections with a bound on every wait: for a connection, for its release, and for its close.

If a server is frozen, or its network is gone, it neither answers nor refuses. Then asyncpg waits for ever in three
places: for the answer to a statement, unless there is a command time-out; for the end of a cancelled statement, before
the connection is used again or released; and for the end of a connection that is closed.
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
    code_of,
    refusal_of_connection,
    translating_errors,
)
from repositories.engines.schema import read_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    DriversPool = asyncpg.Pool[asyncpg.Record]


KEPT_S: Final = 1
"""For how long a connection that nobody uses is kept for the next caller, in seconds."""


class Connections:
    """A pool whose callers get connections in the order in which they ask. They wait at most `timeout_s` seconds.

    asyncpg's pool alone can give a released connection to a new caller, and the caller that has waited then waits
    again, behind all others. With 64 clients and 8 connections, p99 was ten times the median.
    """

    def __init__(self, pool: "DriversPool", timeout_s: float, limits: Limits, meter: Meter, name: Pool) -> None:
        self.meter = meter
        self._limits = limits
        self._pool = pool
        self._kept: list[Connection] = []
        self._fewest = 0
        self._return: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(pool.get_max_size())
        self.timeout_s = timeout_s
        self._name: Pool = name

    async def close(self) -> None:
        """Close the connections. Abort them if the server does not answer in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stop_s):
                await self._return_kept()
                if self._return is not None:
                    self._return.cancel()
                await self._pool.close()

    def cut(self) -> None:
        """Abort all connections and their statements now, because the server does not answer."""
        self._pool.terminate()

    @asynccontextmanager
    async def one(self) -> "AsyncIterator[Connection]":
        """A connection. Raises `Busy` after the time-out, and `Unreachable` if a connection cannot be opened."""
        connection = await self._acquire()
        self.meter.in_use(self._name, 1)
        is_clean = False
        try:
            yield connection
            is_clean = True
        except Contended as refusal:
            if (
                code_of(refusal.__cause__) == READ_ONLY
            ):  # all connections lead to a server that is no longer the primary
                await self._pool.expire_connections()
                await self._return_kept()
            raise
        finally:
            self.meter.in_use(self._name, -1)
            try:
                if not is_clean or self._pool.is_closing():
                    await self._release(connection)
                else:
                    self._keep(connection)
            finally:
                self._turns.release()

    async def _release(self, connection: "Connection") -> None:
        """Release a connection. If it does not become idle in time, the pool aborts it, and opens another one when
        needed."""
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=self._limits.end_s)

    def _keep(self, connection: "Connection") -> None:
        """Keep a connection, whose last use ended without an error, for the next caller.

        To release and to acquire it costs the driver more than to send a statement and to read its answer.
        """
        self._kept.append(connection)
        if self._return is None:
            self._return = asyncio.create_task(self._return_unused())

    async def _return_unused(self) -> None:
        """Release the connections that nobody has used for a while, so that the driver closes them when it likes."""
        try:
            while self._kept:
                self._fewest = len(self._kept)
                await asyncio.sleep(KEPT_S)
                while self._fewest:  # the last ones are used first, so these are the first ones
                    self._fewest -= 1
                    await self._release(self._kept.pop(0))
        finally:
            self._return = None

    async def _return_kept(self) -> None:
        self._fewest = 0
        while self._kept:
            await self._release(self._kept.pop())

    def _take(self) -> "Connection | None":
        """A kept connection that is open, if there is one."""
        while self._kept:
            connection = self._kept.pop()
            self._fewest = min(self._fewest, len(self._kept))
            if is_open(connection):
                return connection
            cut(connection)  # the driver may not have noticed yet
        return None

    async def _acquire(self) -> "Connection":
        if not self._turns.locked():
            await self._turns.acquire()  # at once
            if (connection := self._take()) is not None:
                self.meter.waited(self._name, 0)
                return connection
            self._turns.release()
        started = time.perf_counter()
        try:
            with translating_errors(refusal_of_connection):
                async with asyncio.timeout(self.timeout_s):  # the pool's own time-out creates a task for each call
                    await self._turns.acquire()
                    try:
                        return self._take() or await self._pool.acquire()
                    except BaseException:
                        self._turns.release()
                        raise
        except Refusal as refusal:
            self.meter.failed(refusal)
            raise
        finally:
            self.meter.waited(self._name, time.perf_counter() - started)


def is_open(connection: "Connection") -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it was lost, and the driver has released it
        return False


async def undo(connection: "Connection", within_s: float) -> None:
    """Roll back. If the connection may still be in a transaction after that, abort it. The pool then opens another
    one."""
    try:
        async with asyncio.timeout(within_s):
            await connection.execute("ROLLBACK")
    except BaseException as error:
        cut(connection)
        if not isinstance(error, DRIVER_ERRORS):
            raise


def cut(connection: "Connection") -> None:
    with suppress(asyncpg.InterfaceError):  # it was lost already
        connection.terminate()


KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""TCP keep-alive: the seconds of silence before the first probe, the seconds between probes, and how many may fail."""


async def prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    keep_alive(connection._transport.get_extra_info("socket"))  # type: ignore[attr-defined]  # noqa: SLF001  # no public way
    await read_json_as_stored(connection)


def keep_alive(peer: socket.socket) -> None:
    """Let the operating system notice when the peer of an idle connection is gone. Local sockets do not need this."""
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every operating system has them
            peer.setsockopt(socket.IPPROTO_TCP, option, value)


async def read_json_as_stored(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=read_json)


async def leave_as_is(connection: Any) -> None:
    """Do not reset a connection between uses: connections keep no state here, and the round trip costs as much as a
    read."""

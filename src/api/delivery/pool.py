"""Connections to receivers, which are kept for the next messages."""

import asyncio
import ssl
from functools import partial
from typing import Final, NamedTuple

import h11

from api.delivery.connection import Connection, NotAnswered, Received
from api.delivery.network import PublicNetwork

AT_ONCE: Final = 500
"""How many requests are under way at the same time. The others wait."""

MAX_IDLE: Final = 250
IDLE_S: Final = 30.0
"""Connections without a request are closed after this time, or after twice this time at the latest."""


class Origin(NamedTuple):
    """Where a connection goes."""

    host: str
    port: int
    encrypted: bool


class Pool:
    def __init__(self, network: PublicNetwork, tls: ssl.SSLContext) -> None:
        self._network = network
        self._tls = tls
        self._places = asyncio.Semaphore(AT_ONCE)
        self._idle: dict[Origin, dict[Connection, float]] = {}
        self._number_idle = 0
        self._check: asyncio.TimerHandle | None = None

    async def exchange(self, origin: Origin, request: h11.Request, body: bytes) -> Received:
        """Send a request and return the answer. Raises what connecting and `Connection.exchange` raise.

        The receiver may close a kept connection at the moment when the request is sent. Then the request is sent again
        on a new one. If the receiver had read it, it gets the message twice.
        """
        async with self._places:
            if (kept := self._take(origin)) is not None:
                try:
                    return await self._use(kept, origin, request, body)
                except NotAnswered:
                    pass
            return await self._use(await self._connect(origin), origin, request, body)

    def _take(self, origin: Origin) -> Connection | None:
        while idle := self._idle.get(origin):
            connection = next(reversed(idle))
            self._forget(origin, connection)
            if connection.is_open:
                return connection
        return None

    async def _connect(self, origin: Origin) -> Connection:
        tls = self._tls if origin.encrypted else None
        return await self._network.connect(
            lambda: Connection(partial(self._forget, origin)), origin.host, origin.port, tls
        )

    async def _use(self, connection: Connection, origin: Origin, request: h11.Request, body: bytes) -> Received:
        received = await connection.exchange(request, body)
        if connection.is_open:
            self._keep(origin, connection)
        return received

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if self._number_idle >= MAX_IDLE:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(origin, {})[connection] = loop.time()
        self._number_idle += 1
        if self._check is None:
            self._check = loop.call_later(IDLE_S, self._close_old)

    def _forget(self, origin: Origin, connection: Connection) -> None:
        idle = self._idle.get(origin, {})
        if idle.pop(connection, None) is not None:
            self._number_idle -= 1
            if not idle:
                del self._idle[origin]

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        for idle in self._idle.values():
            for connection, since in idle.items():
                if loop.time() - since >= IDLE_S:
                    connection.close()  # `_forget` is called later
        self._check = loop.call_later(IDLE_S, self._close_old) if self._idle else None

    def close(self) -> None:
        """Close all connections that have no request."""
        if self._check is not None:
            self._check.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()

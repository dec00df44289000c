"""Receivers on loopback: one that must not be called, one with given answers, one with TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from api.delivery.network import PublicNetwork, Resolve, look_up
from api.delivery.poster import Poster

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop of the server and of the sending process."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class Listener:
    """Listens on every address of this machine, and accepts nothing."""

    sockets: list[socket.socket]

    @property
    def port(self) -> int:
        port: int = self.sockets[0].getsockname()[1]
        return port

    def is_silent(self) -> bool:
        """Whether no connection was tried."""
        for each in self.sockets:
            with suppress(BlockingIOError):
                each.accept()[0].close()
                return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    first = socket.create_server(("", 0))
    sockets = [first]
    if socket.has_ipv6:
        with suppress(OSError):
            sockets.append(socket.create_server(("::", first.getsockname()[1]), family=socket.AF_INET6))
    for each in sockets:
        each.setblocking(False)
    yield Listener(sockets)
    for each in sockets:
        each.close()


@dataclass
class Receiver:
    """Answers each request with these bytes. It records the requests, and the host names in TLS."""

    answer: bytes = NO_CONTENT
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?a=b"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                writer.write(self.answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback with this handler, and its port. At the end all connections are closed."""
    running: set[asyncio.Task[Any]] = set()

    async def handle_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(handle(reader, writer))
        running.add(task)
        await asyncio.wait([task])
        writer.close()

    server = await asyncio.start_server(handle_and_close, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiving(receiver.handle) as port:
        receiver.port = port
        yield receiver


@asynccontextmanager
async def posting(
    *,
    allow_private: bool = True,
    allow_http: bool = True,
    resolve: Resolve = look_up,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Poster]:
    network = PublicNetwork(allow_private=allow_private, resolve=resolve)
    poster = Poster(network, allow_http=allow_http, tls=tls)
    try:
        yield poster
    finally:
        poster.close()

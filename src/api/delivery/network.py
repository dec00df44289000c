"""Connections to public addresses only, so that nobody can make the server call hosts of its private network.

A name is looked up once for each connection. All its addresses are checked, and the connection goes to one of them. A
later change of the name has no effect (DNS rebinding). TLS and the Host header still use the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import httpcore2

from domain.addresses import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks up the addresses of a host, or parses an address in any notation. Raises `OSError`."""

TRIED: Final = 3
"""How many addresses of a host are tried, one after the other."""


class NotPublic(httpcore2.ConnectError):
    def __init__(self) -> None:
        super().__init__("The host has an address that is not public.")


async def look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses only. With `allow_private` every address is allowed."""

    def __init__(self, *, allow_private: bool, resolve: Resolve = look_up) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library defines this signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("The host has no address.")
        for address in await self._addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host. Raises `NotPublic` if one of them is not public, because such a host cannot be
        trusted."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("The name of the host cannot be looked up.") from None
        if not self._allow_private and not all(map(is_public, addresses)):
            raise NotPublic
        return addresses[:TRIED]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

"""Connections to public addresses only, so that nobody can make the server call hosts of its private network.

A name is looked up once for each connection. All its addresses are checked, and the connection goes to one of them. A
later change of the name has no effect (DNS rebinding). TLS and the Host header still use the name.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from domain.delivery.addresses import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks up the addresses of a host, or parses an address in any notation. Raises `OSError`."""

Connected = TypeVar("Connected", bound=asyncio.Protocol)

TRIED: Final = 3
"""How many addresses of a host are tried, one after the other."""

CONNECTED_WITHIN_S: Final = 4.0
"""Seconds for each of these, TLS included. So all of them are tried within the time of an attempt."""


class NotPublic(ConnectionError):
    def __init__(self) -> None:
        super().__init__("The host has an address that is not public.")


async def look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicNetwork:
    """Connects to public addresses only. With `allow_private` every address is allowed."""

    def __init__(self, *, allow_private: bool, resolve: Resolve = look_up) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    async def connect(
        self, protocol: Callable[[], Connected], host: str, port: int, tls: ssl.SSLContext | None
    ) -> Connected:
        """Connect to a host, with TLS in its name if there is a context. Raises `OSError`, also for wrong certificates
        and after the time for connecting."""
        failure: OSError = ConnectionError("The host has no address.")
        for address in await self._addresses(host, port):
            try:
                async with asyncio.timeout(CONNECTED_WITHIN_S):
                    return await self.connect_to(address, port, protocol, tls, host)
            except TimeoutError:
                failure = ConnectionError(f"There was no connection within {CONNECTED_WITHIN_S:g} seconds.")
            except OSError as error:
                failure = error
        raise failure

    async def connect_to(
        self, address: str, port: int, protocol: Callable[[], Connected], tls: ssl.SSLContext | None, name: str
    ) -> Connected:
        """Connect to an address that was checked, with TLS in this name."""
        loop = asyncio.get_running_loop()
        _, connected = await loop.create_connection(
            protocol, address, port, ssl=tls, server_hostname=name if tls else None
        )
        return connected

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host. Raises `NotPublic` if one of them is not public, because such a host cannot be
        trusted."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise ConnectionError("The name of the host cannot be looked up.") from None
        if not self._allow_private and not all(map(is_public, addresses)):
            raise NotPublic
        return addresses[:TRIED]

"""Posting messages with httpcore2. Redirects are not followed, and the size and the time of an answer are limited."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import httpcore2

from api.delivery.network import PublicNetwork
from domain.deliveries import Answer

TIMEOUT_S: Final = 15
"""Seconds that an attempt may take, from the look-up of the name to the end of the answer."""

MAX_READ: Final = 64 * 1024
"""How many bytes of an answer are read."""

MAX_CONNECTIONS: Final = 500
IDLE_S: Final = 30

FAILURES: Final = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    httpcore2.UnsupportedProtocol,
    OSError,
    ValueError,
)


class Poster:
    """Posts messages. `allow_http` also allows http URLs."""

    def __init__(self, network: PublicNetwork, *, allow_http: bool, tls: ssl.SSLContext | None = None) -> None:
        self._schemes = {"https", "http"} if allow_http else {"https"}
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_S,
            network_backend=network,
        )
        self._headers = {
            "User-Agent": f"Roster/{version('roster')}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # no compression, so that a small answer cannot expand to a large one
        }

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, retry_after, text = await self._send(url, headers, body)
        except TimeoutError:
            return Answer(milliseconds=since(began), error=f"There was no answer within {TIMEOUT_S} seconds.")
        except FAILURES as failure:
            return Answer(milliseconds=since(began), error=str(failure) or type(failure).__name__)
        return Answer(milliseconds=since(began), status=status, retry_after=retry_after, text=text)

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None, str]:
        parts = urlsplit(url)
        if parts.scheme not in self._schemes:
            raise httpcore2.UnsupportedProtocol("Only https URLs are called.")
        sent = {"Host": parts.netloc, **self._headers, "Content-Length": str(len(body)), **headers}
        async with self._pool.stream("POST", url.encode("ascii"), headers=list(sent.items()), content=body) as response:
            read = b""
            async for chunk in response.aiter_stream():
                read += chunk
                if len(read) >= MAX_READ:
                    break
            return response.status, header(response, b"retry-after"), read[:MAX_READ].decode(errors="replace")

    async def close(self) -> None:
        await self._pool.aclose()


def header(response: httpcore2.Response, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in response.headers if name.lower() == wanted), None)


def since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)

"""Posting messages. Redirects are not followed, and the size and the time of an answer are limited."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11

from api.delivery.connection import Received
from api.delivery.network import PublicNetwork
from api.delivery.pool import Origin, Pool
from domain.delivery.deliveries import Answer

TIMEOUT_S: Final = 15
"""Seconds that an attempt may take, from the look-up of the name to the end of the answer."""

PORTS: Final = {"http": 80, "https": 443}

FAILURES: Final = (h11.ProtocolError, OSError, ValueError)


class Target(NamedTuple):
    """A URL in the parts of a request. `host` is the header, `path` includes the query."""

    origin: Origin
    host: str
    path: str


@lru_cache(maxsize=1024)
def target_of(url: str, *, allow_http: bool) -> Target:
    """Raises `ValueError` if it is not a URL, or not one that is called."""
    parts = urlsplit(url)
    if parts.scheme not in ({"https", "http"} if allow_http else {"https"}):
        raise ValueError("Only https URLs are called.")
    if not parts.hostname:
        raise ValueError("The URL has no host.")
    origin = Origin(parts.hostname, parts.port or PORTS[parts.scheme], parts.scheme == "https")
    query = f"?{parts.query}" if parts.query else ""
    return Target(origin, parts.netloc, f"{parts.path or '/'}{query}")


class Poster:
    """Posts messages. `allow_http` also allows http URLs."""

    def __init__(self, network: PublicNetwork, *, allow_http: bool, tls: ssl.SSLContext | None = None) -> None:
        self._allow_http = allow_http
        self._pool = Pool(network, tls or ssl.create_default_context())
        self._headers = (
            ("User-Agent", f"Roster/{version('roster')}"),
            ("Content-Type", "application/json"),
            ("Accept-Encoding", "identity"),  # no compression, so that a small answer cannot expand to a large one
        )

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                received = await self._send(url, headers, body)
        except TimeoutError:
            return Answer(milliseconds=since(began), error=f"There was no answer within {TIMEOUT_S} seconds.")
        except FAILURES as failure:
            return Answer(milliseconds=since(began), error=str(failure) or type(failure).__name__)
        return Answer(
            milliseconds=since(began),
            status=received.status,
            retry_after=header(received, b"retry-after"),
            text=received.body.decode(errors="replace"),
        )

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Received:
        target = target_of(url, allow_http=self._allow_http)
        sent = [("Host", target.host), *self._headers, ("Content-Length", str(len(body))), *headers.items()]
        request = h11.Request(method="POST", target=target.path, headers=sent)
        return await self._pool.exchange(target.origin, request, body)

    def close(self) -> None:
        self._pool.close()


def header(received: Received, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in received.headers if name == wanted), None)


def since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)

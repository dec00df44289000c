"""Whole lists as streams, in newline-delimited JSON or CSV."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.files.writing import csv_lines, write_csv
from api.web.dependencies import container_of
from domain.limits import Limits
from domain.lists.pages import JsonPage

T = TypeVar("T")
Body = Mapping[str, Any]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"

PIECE_BYTES: Final = 64 * 1024

FEW: Final = 100
"""How many items are written at a time. Other requests have to wait meanwhile."""

QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
VARY: Final = {"Vary": "Accept"}

log = structlog.get_logger("roster")


def media_type_for(accept: Sequence[str], offered: Sequence[str] = (JSON, NDJSON, CSV)) -> str:
    """The media type that the Accept headers prefer (RFC 9110, section 12.5.1). If they prefer none, it is the first
    one."""
    return preferred(tuple(accept), tuple(offered))


@lru_cache(64)
def preferred(accept: tuple[str, ...], offered: tuple[str, ...]) -> str:
    ranges = dict(quality_of(part) for line in accept for part in line.split(","))

    def quality(media_type: str) -> float:
        wider = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((ranges[each] for each in wider if each in ranges), 0)

    best = max(offered, key=quality)
    return best if quality(best) else offered[0]


def quality_of(part: str) -> tuple[str, float]:
    media_type, *parameters = (each.strip().lower() for each in part.split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    return media_type, float(quality) if QUALITY.fullmatch(quality) else 0


class Pace:
    """The time that a client has for its next piece, so that it reads at a minimum rate on average.

    A client may be late by some seconds. It gains no time by reading faster before, because that may only be the
    buffers of the network.
    """

    def __init__(self, limits: Limits) -> None:
        self._rate = limits.stream_bytes_per_s
        self._patience_s = limits.stream_patience_s
        self._spare_s = limits.stream_patience_s

    def time_for(self, size: int) -> float:
        return self._spare_s + size / self._rate

    def took(self, size: int, seconds: float) -> None:
        self._spare_s = min(self._patience_s, self.time_for(size) - seconds)


class Stream(StreamingResponse):
    """A stream. It closes its source when the client disconnects, and disconnects a client that reads too slowly.

    It holds a snapshot of the database, so its whole duration is limited too.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes],
        source: AsyncGenerator[Any],
        media_type: str,
        headers: Mapping[str, str],
        limits: Limits,
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces
        self._source = source
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pace = Pace(self._limits)

        async def send_in_time(message: Any) -> None:
            size, started = len(message.get("body", b"")), time.monotonic()
            async with asyncio.timeout(pace.time_for(size)):
                await send(message)
            pace.took(size, time.monotonic() - started)

        try:
            async with asyncio.timeout(self._limits.stream_s):
                await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            log.warning("a client read its stream too slowly")
        finally:
            await self._pieces.aclose()
            await self._source.aclose()  # closing the pieces does not close it if no piece was read


async def stream(
    request: Request,
    media_type: str,
    pages: AsyncGenerator[JsonPage],
    columns: Sequence[str],
    *,
    keeps_formulas: bool = False,
) -> Response:
    """Answer with all pages. If the first page is refused, the answer is a problem document."""
    first = await anext(pages)
    headers = VARY if first.seq is None else {**VARY, "Roster-Seq": str(first.seq)}
    if request.state.method == "HEAD":
        await pages.aclose()
        return without_length(Response(media_type=media_type, headers=headers))
    written = partial(csv_of, columns, escapes=not keeps_formulas) if media_type == CSV else lines_of
    head = csv_lines([columns]) if media_type == CSV else b""

    async def pieces() -> AsyncGenerator[bytes]:
        if head:
            yield head
        for some in few_at_a_time(first.items):
            for piece in cut(written(some)):
                yield piece
        async for page in pages:
            for some in few_at_a_time(page.items):
                for piece in cut(written(some)):
                    yield piece
                await asyncio.sleep(0)  # let other requests run: sending does not always wait

    return Stream(pieces(), pages, media_type, headers, container_of(request).settings().limits)


def lines_of(items: Sequence[str]) -> bytes:
    return "".join(f"{item}\n" for item in items).encode()


def csv_of(columns: Sequence[str], items: Sequence[str], *, escapes: bool) -> bytes:
    return write_csv(map(json.loads, items), columns, escapes=escapes)


def without_length(response: Response) -> Response:
    """Remove the Content-Length, which is not known for a stream."""
    del response.headers["content-length"]
    return response


def few_at_a_time(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + FEW] for start in range(0, len(items), FEW))


def cut(data: bytes) -> Iterator[bytes]:
    """Cut data into pieces, each with its own time limit, so that a client that reads slowly is not disconnected."""
    return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))

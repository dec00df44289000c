"""Whole lists as streams: newline-delimited JSON, or CSV that a spreadsheet opens without running anything in it."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog
from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
Shown = Mapping[str, Any]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"

CHUNK_TIMEOUT_S: Final = 30
"""How long a client may take to accept a piece of the stream: meanwhile it holds a snapshot of the database."""

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""What a spreadsheet takes for the start of a formula (OWASP, CSV injection)."""

log = structlog.get_logger("roster")


def media_type_for(accept: str | None) -> str:
    """Which of the three an Accept header (RFC 9110, section 12.5.1) prefers. JSON, if it is indifferent."""
    qualities = dict(quality_of(part) for part in (accept or "*/*").split(","))
    best = max((JSON, NDJSON, CSV), key=lambda media_type: qualities.get(media_type, 0))
    return best if qualities.get(best, 0) else JSON


def quality_of(part: str) -> tuple[str, float]:
    media_type, *parameters = (each.strip().lower() for each in part.split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return media_type, float(quality)
    except ValueError:
        return media_type, 0


class Stream(StreamingResponse):
    """Ends what it reads from when the client goes away, and goes away itself from one who does not read."""

    body_iterator: AsyncGenerator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Any) -> None:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            log.warning("a client read its stream too slowly")
        finally:
            await self.body_iterator.aclose()


async def stream(
    media_type: str, batches: AsyncGenerator[Sequence[T]], show: Callable[[T], Shown], columns: Sequence[str]
) -> Response:
    """Answer with all that the batches hold. What is wrong with the first batch is still refused in good form."""
    first = await anext(batches, ())
    write = write_csv if media_type == CSV else write_ndjson
    head = csv_lines([columns]) if media_type == CSV else b""

    async def body() -> AsyncIterator[bytes]:
        try:
            yield head + write(map(show, first), columns)
            async for batch in batches:
                yield write(map(show, batch), columns)
        finally:
            await batches.aclose()

    return Stream(body(), media_type=media_type, headers={"Vary": "Accept"})


def write_ndjson(items: Iterable[Shown], _: Sequence[str]) -> bytes:
    return b"".join(to_json(item) + b"\n" for item in items)


def write_csv(items: Iterable[Shown], columns: Sequence[str]) -> bytes:
    return csv_lines([cell(item.get(column)) for column in columns] for item in items)


def csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: lines end in CRLF, and quotes stand where they must."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def cell(value: object) -> str:
    """Nothing as an empty cell, attributes as JSON; an apostrophe before what a spreadsheet would run."""
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str():
            return f"'{value}" if value.startswith(FORMULA_STARTS) else str(value)
        case int():
            return str(value)
        case _:
            return to_json(value).decode()

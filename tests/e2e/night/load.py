"""Clients that send requests all the time, and record the answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

PATIENCE_S: Final = 60
LEAST_PER_S: Final = 100
"""How many answers a second there are on the slowest machine."""

LOST: Final = 0
"""In place of a status: the connection ended before the answer."""

Make = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    at: float
    """When it came, by `time.perf_counter`."""

    seconds: float
    status: int
    number: int
    """Of the request, from 1."""

    head: bytes = b""
    body: bytes = b""

    @property
    def is_refusal(self) -> bool:
        return self.status == 503

    @property
    def code(self) -> str:
        """That of a problem document."""
        return str(json.loads(self.body)["code"]) if self.body.startswith(b"{") and self.status >= 400 else ""


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def send(method: str, path: str, body: object) -> bytes:
    text = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def create(number: int) -> bytes:
    return send("POST", "/users/", {"name": f"User {number}", "external_id": f"e{number}"})


def mixed(number: int) -> bytes:
    """One in five creates a user; the others read one that may be there."""
    return get(f"/users/{number // 10 + 1}") if number % 5 else create(number)


@dataclass
class Load:
    """So many clients, with a connection each, which they keep as long as the server does.

    `pace_s` is the time from one request of a client to its next one; with 0 it is sent when the answer is there.
    """

    host: str
    port: int
    make: Make
    clients: int = 8
    pace_s: float = 0
    first: int = 1
    """The number of the first request."""

    notes: bool = True
    """Whether answers are kept, and not only counted."""

    answers: list[Answer] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._numbers = count(self.first)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """The clients send requests until the block ends. Each ends after an answer."""
        tasks = [asyncio.create_task(self._ask(place / self.clients * self.pace_s)) for place in range(self.clients)]
        try:
            yield self
        finally:
            self._stopping = True
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    async def for_seconds(self, seconds: float) -> "Load":
        async with self.running():
            await asyncio.sleep(seconds)
        return self

    async def more(self, number: int) -> None:
        """Returns when this many more requests were answered."""
        wanted = self.statuses.total() + number
        async with asyncio.timeout(PATIENCE_S + number / LEAST_PER_S):
            while self.statuses.total() < wanted:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def for_requests(self, number: int) -> "Load":
        """About so many."""
        async with self.running():
            await self.more(number)
        return self

    async def _ask(self, first_s: float) -> None:
        await asyncio.sleep(first_s)
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            number, began = next(self._numbers), time.perf_counter()
            if connection is None or connection[0].at_eof() or connection[1].is_closing():
                connection = await self._connect()
            try:
                answer = await self._exchange(*connection, number, began)
            except (OSError, asyncio.IncompleteReadError):
                answer = Answer(time.perf_counter(), time.perf_counter() - began, LOST, number)
            self._note(answer)
            if answer.status == LOST or b"connection: close" in answer.head:
                connection[1].close()
                connection = None
            if self.pace_s:
                await asyncio.sleep(max(0, self.pace_s - (time.perf_counter() - began)))
        if connection is not None:
            connection[1].close()

    def _note(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if self.notes:
            self.answers.append(answer if answer.status >= 400 else replace(answer, head=b"", body=b""))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            with suppress(OSError):
                return await asyncio.open_connection(self.host, self.port)
            self._note(Answer(time.perf_counter(), 0, LOST, 0))
            await asyncio.sleep(0.05)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, began: float
    ) -> Answer:
        writer.write(self.make(number))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length)
        now = time.perf_counter()
        return Answer(now, now - began, int(head[9:12]), number, head, body)


def quantile(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] if seconds else 0.0

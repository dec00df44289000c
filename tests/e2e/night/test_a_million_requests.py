"""After a million requests a server holds what it held after the first ten thousand: memory, files, tasks, threads."""

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pytest
from tests.e2e.night.conftest import log, memory_of, tree_of
from tests.e2e.night.load import create, get, send

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

REQUESTS: Final = int(os.environ.get("ROSTER_TEST_REQUESTS", "1000000"))
FIRST: Final = 10_000
"""What the server keeps for good is there after these: pools, caches, compiled statements."""

TOLD_EVERY: Final = 30_000
CLIENTS: Final = 8
MAY_GROW_BYTES: Final = 10 * 2**20
WATCHED: Final = str(Path(__file__).with_name("watched_server.py"))
MIB: Final = 2**20

KEYED: Final = b"Host: 127.0.0.1\r\nIdempotency-Key: "


def asked(number: int) -> bytes:
    """Of twenty requests three create, two change, five list, four are refused, and six read a user. One of a hundred
    deletes."""
    user = number // 100 + 1
    requests = {
        0: lambda: create(number),
        1: lambda: send("PATCH", f"/users/{user}", {"name": f"Renamed {number}"}),
        2: lambda: get("/users/?limit=20"),
        3: lambda: get("/changes/?limit=5") if number % 100 > 3 else send("DELETE", f"/users/{user * 7 + 3}", {}),
        4: lambda: send("POST", "/users/", {"name": "", "nickname": 1}),
        5: lambda: get(f"/users/{10**9 + number}"),
        6: lambda: get(f"/users/?filter=external_id%20eq%20%22e{number - 16}%22&sort=-name"),
        10: lambda: create(number).replace(b"Host: 127.0.0.1\r\n", KEYED + b"request-%d\r\n" % number),
        13: lambda: send("POST", "/groups/", {"name": f"Group {number}"}),
    }
    return requests.get(number % 20, requests.get(number % 10, lambda: get(f"/users/{user}")))()


class Client(asyncio.Protocol):
    """A connection that sends the next request when an answer has come. It takes little CPU from the server."""

    def __init__(self, numbers: Iterator[int], statuses: Counter[int]) -> None:
        self._numbers = numbers
        self._statuses = statuses
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= length_in(head):
            self._statuses[int(head[9:12])] += 1
            self._received = b""
            self._ask()

    def _ask(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._transport.close()
        else:
            self._transport.write(asked(number))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():  # the test was interrupted
            self.done.set_result(error)


def length_in(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


async def answered(host: str, port: int, numbers: range) -> Counter[int]:
    """The statuses of the answers to the requests with these numbers."""
    rest, statuses = iter(numbers), Counter[int]()
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Client(rest, statuses), host, port) for _ in range(CLIENTS)]
    assert await asyncio.gather(*[client.done for _, client in made]) == [None] * CLIENTS
    assert statuses.total() == len(numbers)
    return statuses


@dataclass(frozen=True, slots=True)
class Held:
    memory: int
    files: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.memory / MIB:.1f} MiB, {self.files} files, {self.threads} threads, {self.tasks} tasks"


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Watched:
    """A server that is asked for what it holds while nobody asks it anything else."""

    def __init__(self, roster: "Roster") -> None:
        self._roster = roster
        self._looks = 0

    async def holds(self) -> Held:
        self._looks += 1
        self._roster.signal(signal.SIGUSR1)
        await self._roster.line(lambda _: len(self._printed()) >= self._looks)
        counts = json.loads(self._printed()[-1])
        files = sum(map(open_files, tree_of(self._roster.process.pid)))
        return Held(memory_of(self._roster), files, counts["threads"], counts["tasks"])

    def _printed(self) -> list[str]:
        return [line for line in self._roster.said if '"watched"' in line]


async def test_the_memory_files_threads_and_tasks_of_a_server_do_not_grow(
    database_url: str, serve_on: "Run", listener: socket.socket
) -> None:
    host, port = listener.getsockname()
    roster: Roster = await serve_on(listener, database_url, program=[WATCHED], log_level="warning")
    watched = Watched(roster)
    engine = database_url.partition(":")[0]
    await answered(host, port, range(FIRST))
    last = first = await watched.holds()
    log.info("%s: after %d requests %s", engine, FIRST, first)
    statuses = Counter[int]()
    for begin in range(FIRST, REQUESTS, TOLD_EVERY):
        end = min(begin + TOLD_EVERY, REQUESTS)
        statuses += await answered(host, port, range(begin, end))
        last = await watched.holds()
        log.info("%s: after %d requests %s", engine, end, last)

    grown = (last.memory - first.memory) / MIB
    log.info("%s: grown by %.1f MiB; answers %s", engine, grown, dict(statuses))
    assert last.memory - first.memory <= MAY_GROW_BYTES
    assert (last.threads, last.tasks) == (first.threads, first.tasks)
    assert last.files <= first.files  # the pool of PostgreSQL closes connections that it does not need
    assert statuses[201] == (REQUESTS - FIRST) * 3 // 20
    assert set(statuses) <= {200, 201, 204, 400, 404, 410, 422}
    assert await roster.stop() == 0

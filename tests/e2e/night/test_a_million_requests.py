"""After a million requests a server holds what it held after the first ten thousand: memory, files, tasks, threads."""

import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.e2e.night.conftest import log, memory_of, tree_of
from tests.e2e.night.load import Load, create, get, send

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

REQUESTS: Final = int(os.environ.get("ROSTER_TEST_REQUESTS", "1000000"))
FIRST: Final = 10_000
"""What the server keeps for good is there after these: pools, caches, compiled statements."""

MAY_GROW_BYTES: Final = 10 * 2**20
WATCHED: Final = str(Path(__file__).with_name("watched_server.py"))
MIB: Final = 2**20


def asked(number: int) -> bytes:
    """Of ten requests one creates, one changes, one lists, one deletes what may be there, two are refused."""
    user = number // 100 + 1
    requests = {
        0: lambda: create(number),
        1: lambda: send("PATCH", f"/users/{user}", {"name": f"Renamed {number}"}),
        2: lambda: get("/users/?limit=20"),
        3: lambda: get("/changes/?limit=5") if number % 100 > 3 else send("DELETE", f"/users/{user * 7 + 3}", {}),
        4: lambda: send("POST", "/users/", {"name": "", "nickname": 1}),
        5: lambda: get(f"/users/{10**9 + number}"),
    }
    return requests.get(number % 10, lambda: get(f"/users/{user}"))()


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
        await self._roster.line(lambda _: len(self._told()) >= self._looks)
        told = json.loads(self._told()[-1])
        files = sum(map(open_files, tree_of(self._roster.process.pid)))
        return Held(memory_of(self._roster), files, told["threads"], told["tasks"])

    def _told(self) -> list[str]:
        return [line for line in self._roster.said if '"watched"' in line]


async def test_what_a_server_holds_stays_what_it_was(
    database_url: str, serve_on: "Run", listener: socket.socket
) -> None:
    host, port = listener.getsockname()
    roster: Roster = await serve_on(listener, database_url, program=[WATCHED], log_level="warning")
    watched = Watched(roster)
    await Load(host, port, asked, notes=False).for_requests(FIRST)
    first = await watched.holds()
    load = await Load(host, port, asked, first=2 * FIRST, notes=False).for_requests(REQUESTS - FIRST)
    last = await watched.holds()

    engine, grown = database_url.partition(":")[0], (last.memory - first.memory) / MIB
    log.info("%s: after %d requests %s; after %d %s", engine, FIRST, first, REQUESTS, last)
    log.info("%s: grown by %.1f MiB; answers %s", engine, grown, dict(load.statuses))
    assert last.memory - first.memory <= MAY_GROW_BYTES
    assert (last.files, last.threads, last.tasks) == (first.files, first.threads, first.tasks)
    assert set(load.statuses) <= {200, 201, 204, 400, 404, 410, 422}
    assert await roster.stop() == 0

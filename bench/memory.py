"""`python -m bench memory`: Roster's memory when idle and while it streams, and the time that it takes to start."""

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.contenders import Place, Recipe, roster
from bench.databases import Databases, databases
from bench.errors import BenchError
from bench.filling import fill
from bench.machine import machine
from bench.options import add_output, databases_asked_for
from bench.processes import forget_peak, memory_bytes
from bench.results import write_json, write_section
from bench.servers import Server, free_port, nothing, prepare, running, serving, wait_for
from bench.tables import TITLES, table

FORMATS: Final[Mapping[str, str]] = {"NDJSON": "application/x-ndjson", "CSV": "text/csv"}
POLL_S: Final = 0.002
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Streamed:
    """One stream of the whole directory, from a server that had answered one request."""

    database: str
    format: str
    users: int
    idle_bytes: int
    peak_bytes: int
    seconds: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Started:
    database: str
    seconds: list[float]


def declare(parser: ArgumentParser) -> None:
    add_output(parser, "sqlite")
    parser.add_argument("--users", type=int, default=1_000_000, help="how many users are streamed")
    parser.add_argument("--starts", type=int, default=10, help="how often the server is started")


def run(options: Namespace) -> int:
    streams: list[Streamed] = []
    starts: list[Started] = []
    versions: list[str] = []
    for kind in databases_asked_for(options):
        with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder, databases(kind, Path(folder)) as fresh:
            streams += streamed(kind, fresh, options.users, Path(folder))
            starts.append(Started(kind, started(fresh, options.starts, Path(folder))))
            versions.append(fresh.version())
    found = {"streams": [asdict(each) for each in streams], "starts": [asdict(each) for each in starts]}
    write_json(options.output, "memory", {"machine": machine(versions), **found})
    text = report(streams, starts)
    print(text)
    if options.write_docs:
        write_section("memory", text)
    return 0


def streamed(kind: str, fresh: Databases, users: int, folder: Path) -> list[Streamed]:
    """Each format has its own server, so that no format uses memory that another one left."""
    url = fresh.fresh("memory")
    then: Callable[[], None] = partial(fill, url, users)
    found: list[Streamed] = []
    for format, media_type in FORMATS.items():
        with serving("roster", url, users, folder, then) as server:
            found.append(stream(server, kind, format, media_type, users))
        then = nothing
    return found


def stream(server: Server, kind: str, format: str, media_type: str, users: int) -> Streamed:
    idle = memory_bytes(server.pid, "VmRSS")
    forget_peak(server.pid)
    begin = time.perf_counter()
    lines, sent = taken(server, media_type)
    seconds = time.perf_counter() - begin
    if lines != users + (format == "CSV"):
        raise BenchError(f"The stream of {users} users has {lines} lines.")
    peak = memory_bytes(server.pid, "VmHWM")
    print(f"{kind} {format}: {sent / MIB:.0f} MiB in {seconds:.1f} s", file=sys.stderr)
    return Streamed(kind, format, users, idle, peak, seconds, sent)


def taken(server: Server, media_type: str) -> tuple[int, int]:
    """The number of lines and bytes of a stream. The content is not kept."""
    lines = sent = 0
    with server.client() as client, client.stream("GET", "/users/", headers={"Accept": media_type}) as answer:
        for piece in answer.iter_bytes():
            lines += piece.count(b"\n")
            sent += len(piece)
    return lines, sent


def started(fresh: Databases, times: int, folder: Path) -> list[float]:
    """Seconds from the start of the process to the end of its first answer, on an existing database."""
    place = Place(free_port(), fresh.fresh("start"), 0)
    recipe = roster(place)
    secret = prepare(recipe, folder)
    return [start(recipe, place, secret, folder) for _ in range(times)]


def start(recipe: Recipe, place: Place, secret: str | None, folder: Path) -> float:
    begin = time.perf_counter()
    with running(recipe, folder, folder / "start.log") as process:
        server = Server("roster", recipe, process.pid, place.port, secret)
        wait_for(server, process, POLL_S)
        return time.perf_counter() - begin


def report(streams: list[Streamed], starts: list[Started]) -> str:
    head = ["", "users", "idle MiB", "peak MiB", "more than idle", "s", "MiB sent"]
    of_starts = [[titled(each.database), f"{median(each.seconds):.2f}", str(len(each.seconds))] for each in starts]
    return "\n\n".join(
        [table(head, map(stream_row, streams)), table(["start to first answer", "s, median", "of"], of_starts)]
    )


def stream_row(each: Streamed) -> list[str]:
    return [
        f"{each.format} from {titled(each.database)}",
        f"{each.users:,}",
        f"{each.idle_bytes / MIB:.1f}",
        f"{each.peak_bytes / MIB:.1f}",
        f"{(each.peak_bytes - each.idle_bytes) / MIB:+.1f}",
        f"{each.seconds:.1f}",
        f"{each.sent_bytes / MIB:.0f}",
    ]


def titled(database: str) -> str:
    return TITLES.get(database, database)

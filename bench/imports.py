"""The cost of an import: `python -m bench.imports`, in some minutes. With `--million` it imports a million rows, in
ten.

It imports files of users with three identifiers and attributes into a new directory, on SQLite and on PostgreSQL. The
output is rows per second (elapsed and of CPU time of this process), the memory compared with a small file, and the
latency of other reads and writes during the import. On a shared machine, compare the CPU time.
"""

import asyncio
import gc
import io
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import BinaryIO, Final

from api.files.reading import Format, rows_in
from bench.databases import POSTGRESQL, SQLITE, databases
from domain.imports import FileKey, Options
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.work.units_of_work import SqlUnitsOfWork
from services.imports.runs import Import
from services.imports.service import ImportService
from services.users import UserService

CONTEXT: Final = RequestContext(actor="bench", request_id="bench")
SIZES: Final = (10_000, 50_000)
MILLION: Final = 1_000_000
IDLE_S: Final = 3.0
PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Took:
    rows: int
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.rows / self.wall_s:,.0f} rows/s, {self.rows / self.cpu_s:,.0f} rows per second of CPU"


def write_lines(rows: int, file: BinaryIO) -> None:
    """The same as `file_of`, for a file on the disk."""
    for first in range(0, rows, MILLION // 100):
        file.writelines(line_of(n) for n in range(first, min(rows, first + MILLION // 100)))
    file.flush()


def line_of(n: int) -> bytes:
    return (
        f'{{"name":"User {n}","email":"user{n}@example.org","username":"u{n}","external_id":"hr-{n}",'
        f'"attributes":{{"department":"eng","desk":{n}}}}}\n'
    ).encode()


def file_of(rows: int, format: Format) -> io.BytesIO:
    """A file as a company has it: every row is different."""
    if format is Format.CSV:
        lines = (f"User {n},user{n}@example.org,u{n},hr-{n},eng,{n}\n" for n in range(rows))
        return io.BytesIO(
            ("name,email,username,external_id,attributes.department,attributes.desk\n" + "".join(lines)).encode()
        )
    return io.BytesIO(b"".join(map(line_of, range(rows))))


async def imported(units: SqlUnitsOfWork, rows: int, format: Format) -> Took:
    file = file_of(rows, format)
    wall, cpu = time.perf_counter(), time.process_time()
    one = Import(
        ImportService(units, CONTEXT), rows_in(file, format), Options(key=FileKey(f"{format} {rows}", "bench"))
    )
    async for _ in one.steps():
        pass
    if one.counts.created != rows:
        raise SystemExit(f"{one.counts} of {rows} rows")
    return Took(rows, time.perf_counter() - wall, time.process_time() - cpu)


async def started(url: str) -> SqlUnitsOfWork:
    database = database_at(url, serving=True, pool_size=4, pool_timeout_s=5)
    await database.upgrade()
    units = SqlUnitsOfWork(database)
    await units.start()
    gc.freeze()  # as the server and the command do
    return units


async def p99_ms(call: Callable[[], Awaitable[object]], until: asyncio.Event) -> float:
    """The latencies of a client that asks, waits a moment, and asks again."""
    times = []
    while not until.is_set():
        begun = time.perf_counter()
        await call()
        times.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(PAUSE_S)
    return quantiles(times, n=100)[98]


async def beside(units: SqlUnitsOfWork, rows: int) -> str:
    users = UserService(units, CONTEXT)
    await users.create(NewUser(name="Alice"))

    async def both(until: asyncio.Event) -> tuple[float, float]:
        return await asyncio.gather(
            p99_ms(lambda: users.get(1), until), p99_ms(lambda: users.create(NewUser(name="Bob")), until)
        )

    idle = asyncio.Event()
    asyncio.get_running_loop().call_later(IDLE_S, idle.set)
    calm = await both(idle)
    done = asyncio.Event()
    meanwhile = asyncio.create_task(both(done))
    await imported(units, rows, Format.NDJSON)
    done.set()
    busy = await meanwhile
    return f"p99 of reads {calm[0]:.1f} -> {busy[0]:.1f} ms, of writes {calm[1]:.1f} -> {busy[1]:.1f} ms"


async def size(url: str, rows: int, format: Format) -> str:
    units = await started(url)
    before = peak_mib()
    took = await imported(units, rows, format)
    grown = peak_mib() - before
    await units.stop()
    return f"{format}, {rows:,} rows: {took}; {grown:.0f} MiB more than before, the file's own included"


async def company(url: str) -> str:
    units = await started(url)
    told = await beside(units, SIZES[0])
    await units.stop()
    return f"beside an import in the same process: {told}"


async def million(url: str, file: BinaryIO) -> None:
    """The rate of each tenth, and the growth of the maximum memory."""
    units = await started(url)
    idle = peak_mib()
    one = Import(ImportService(units, CONTEXT), rows_in(file, Format.NDJSON), Options(key=FileKey("million", "bench")))
    wall, cpu, tenth = time.perf_counter(), time.process_time(), MILLION // 10
    async for _ in one.steps():
        if one.counts.rows % tenth == 0:
            took = Took(tenth, time.perf_counter() - wall, time.process_time() - cpu)
            print(f"  to {one.counts.rows:,}: {took}; {peak_mib() - idle:.0f} MiB over idle", flush=True)
            wall, cpu = time.perf_counter(), time.process_time()
    await units.stop()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main_of_a_million(kinds: Sequence[str]) -> None:
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder, databases(kind, Path(folder)) as made:
            print(kind, flush=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                write_lines(MILLION, file)
                asyncio.run(million(made.fresh("million"), file))


def main() -> None:
    kinds = [each for each in sys.argv[1:] if each != "--million"] or (SQLITE, POSTGRESQL)
    if "--million" in sys.argv:
        main_of_a_million(kinds)
        return
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder, databases(kind, Path(folder)) as made:
            for format in Format:
                for rows in SIZES:
                    print(f"{kind}, {asyncio.run(size(made.fresh(f'{format}-{rows}'), rows, format))}", flush=True)
            print(f"{kind}, {asyncio.run(company(made.fresh('beside')))}", flush=True)


if __name__ == "__main__":
    main()

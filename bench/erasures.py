"""How long other writers wait during an erasure: `python -m bench.erasures [MiB]`, on SQLite, in a minute."""

import asyncio
import logging
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.sqlite.connection import DURABLE, NO_CHECKPOINTS
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.upkeep.scrubbing import NOTE_ERASURE, empty_log, flush, rewrite
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="bench", request_id="-")
ERASED: Final = 5
PATIENCE_S: Final = 10
ALONE_S: Final = 10
"""How long writers are measured without an erasure, which shows what the machine itself does to them."""
FILL: Final = sa.text("""
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
INSERT INTO users (name, name_key, username, username_key, email, email_key, status, attributes, created_at, updated_at,
 version) SELECT 'User', 'user', u, u, u || '@example.org', u || '@example.org', 'active', '{}',
 '2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:00:00.000000+00:00', 1
FROM (SELECT hex(randomblob(16)) AS u FROM numbers)
""")


def mebibytes_of(file: Path) -> int:
    return file.stat().st_size >> 20


async def fill(database: SqliteDatabase, file: Path, mebibytes: int) -> None:
    while mebibytes_of(file) < mebibytes:
        async with database.transaction() as executor:
            await executor.write(FILL)
            await executor.commit()


async def write_until(ended: asyncio.Event, users: UserService, pause_s: float) -> list[float]:
    took = []
    while not ended.is_set():
        began = time.perf_counter()
        await users.create(NewUser(name="Somebody"))
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(pause_s)
    return sorted(took)


async def longest_alone(units: SqlUnitsOfWork, pause_s: float) -> float:
    ended = asyncio.Event()
    writer = asyncio.create_task(write_until(ended, UserService(units, CONTEXT), pause_s))
    await asyncio.sleep(ALONE_S)
    ended.set()
    return (await writer)[-1]


async def measure(units: SqlUnitsOfWork, pause_s: float) -> None:
    alone = await longest_alone(units, pause_s)
    users, ended = UserService(units, CONTEXT), asyncio.Event()
    writer = asyncio.create_task(write_until(ended, users, pause_s))
    waited = []
    for _ in range(ERASED):
        await asyncio.sleep(0.5)
        erased, began = (await users.create(NewUser(name="Alice"))).result, time.perf_counter()
        await users.purge(erased.id)
        while not await units.scrubbed():
            if time.perf_counter() - began > PATIENCE_S:
                break
        waited.append(time.perf_counter() - began)
    ended.set()
    took = await writer
    median, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"a write every {pause_s * 1000:.0f} ms: median {median:.1f}, 99th {p99:.0f}, longest {took[-1]:.0f} ms")
    print(f"  without an erasure, as long: longest {alone:.0f} ms")
    print(f"  no trace was left after {', '.join(f'{each:.1f}' for each in waited)} s ({PATIENCE_S}: not yet)")


def measure_steps(file: Path) -> None:
    """Print how long all writers wait for the steps that cannot be interrupted: the longest of some erasures.

    The last step of a rewrite begins after the last look whether somebody waits.
    """
    last_steps, emptying, look = [], [], 0.0

    def is_waited_for() -> bool:
        nonlocal look
        look = time.perf_counter()
        return False

    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in (*DURABLE, NO_CHECKPOINTS):
            connection.execute(pragma).close()
        for _ in range(ERASED):
            connection.execute(NOTE_ERASURE).close()
            rewrite(is_waited_for, True, connection)
            last_steps.append((time.perf_counter() - look) * 1000)
            flush(Path(f"{file}-wal"))
            began = time.perf_counter()
            empty_log(connection)
            emptying.append((time.perf_counter() - began) * 1000)
    print(f"the last step of a rewrite takes {max(last_steps):.0f} ms, emptying the log {max(emptying):.0f} ms")


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[tuple[SqliteDatabase, SqlUnitsOfWork]]:
    database = SqliteDatabase(file, serving=True, pool_timeout_s=3)
    units = SqlUnitsOfWork(database)
    await units.start()
    yield database, units
    await units.stop()


async def main() -> None:
    logging.disable(logging.CRITICAL)
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory(prefix="roster-bench-", dir=".") as folder:
        file = Path(folder) / "roster.db"
        async with served(file) as (database, _):
            await fill(database, file, mebibytes)
        print(f"a file of {mebibytes_of(file)} MiB")
        measure_steps(file)
        async with served(file) as (_, units):
            for pause_s in (1.0, 0.1, 0.01):
                await measure(units, pause_s)


if __name__ == "__main__":
    asyncio.run(main())

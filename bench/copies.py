"""The cost of a copy to the other database: `python -m bench.copies [USERS]`, in some minutes.

`roster copy` copies a directory of a million users, each with the change that created it, from a SQLite file to
PostgreSQL and back. It copies and compares each row. The output is the elapsed time, the CPU time of the command
(without PostgreSQL's), and its largest memory.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from bench.databases import POSTGRESQL, databases
from bench.errors import BenchError
from bench.filling import fill
from repositories.engines.database import database_at

USERS: Final = 1_000_000
CHANGES: Final = """
    INSERT INTO changes (kind, entity_id, version, action, actor, request_id, at, after)
    SELECT 'user', id, 1, 'created', 'key:1', 'bench-' || id, created_at,
           json_object('name', name, 'email', email, 'username', NULL, 'external_id', NULL, 'status', status,
                       'attributes', json('{}'))
    FROM users
"""


def filled(url: str, users: int) -> None:
    database = database_at(url, serving=False, pool_size=1, pool_timeout_s=5)
    asyncio.run(database.upgrade())
    fill(url, users)
    with closing(sqlite3.connect(sa.make_url(url).database or "")) as connection, connection:
        connection.execute(CHANGES)


def copy(source: str, target: str, users: int) -> str:
    began = time.perf_counter()
    command = [sys.executable, "-m", "api.commands.main", "copy", source, target]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "src"}) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"roster copy ended with {process.returncode}")
    wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return (
        f"{users:,} users and as many changes: {wall:.0f} s, {2 * users / wall:,.0f} rows/s, "
        f"{cpu:.0f} s of CPU, at most {used.ru_maxrss / 1024:.0f} MiB"
    )


def main() -> None:
    users = int(sys.argv[1]) if len(sys.argv) > 1 else USERS
    with tempfile.TemporaryDirectory() as folder, databases(POSTGRESQL, Path(folder)) as made:
        file, server, back = f"sqlite:///{folder}/roster.db", made.fresh("copies"), f"sqlite:///{folder}/back.db"
        filled(file, users)
        print(f"SQLite to PostgreSQL, {copy(file, server, users)}", flush=True)
        print(f"PostgreSQL to SQLite, {copy(server, back, users)}", flush=True)


if __name__ == "__main__":
    main()

"""What the lock that orders commits costs on PostgreSQL: `python -m bench.commits`, in three minutes.

pgbench runs the statement that creates a user, with the lock and without it, by 1, 8 and 64 writers, on a disk whose
sync takes 0.1, 1 and 5 ms. That time is PostgreSQL's own `commit_delay`: set TMPDIR to a folder in memory, so that
nothing else is waited for. Ratios count.
"""

import asyncio
import os
import re
import subprocess
import tempfile
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from bench.databases import binaries, private_server
from bench.errors import BenchError
from domain.journal import Journal
from domain.users import NewUser, User
from repositories.engines.database import database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.executors import DIALECT
from repositories.engines.statements import prepare
from repositories.journal import row_of
from repositories.users import USERS
from repositories.work.creation import CHANGE, NEW, UNKNOWN_ID, creating, named

WRITERS: Final = (1, 8, 64)
SYNC_MS: Final = (0.1, 1, 5)
SECONDS: Final = 5
NO_LOCK: Final[sa.Select[Any]] = sa.select(sa.literal_column("1").label("nothing"))


def creation(order: sa.Select[Any]) -> str:
    """The statement of `repositories.work.creation`, with the values of a user of which there may be many."""
    now = datetime.now(UTC)
    profile = {each.name: getattr(NewUser(name="Alice"), each.name) for each in fields(NewUser)}
    values = {**profile, "created_at": now, "updated_at": now, "version": 1}
    journal = Journal()
    journal.added(User(id=UNKNOWN_ID, **values, deleted_at=None))
    (change,) = journal.changes(actor="bench", request_id="bench", at=now)
    columns = USERS.with_keys(values)
    row = {name: value for name, value in row_of(change).items() if name != "entity_id"}
    parameters = {**named(NEW, columns), **named(CHANGE, row)}
    (statement,) = creating(USERS, tuple(columns), order)
    prepared = prepare(statement, DIALECT, parameters)
    arguments = [literal(each) for each in prepared.arguments(parameters)]
    return re.sub(r"\$(\d+)", lambda match: arguments[int(match[1]) - 1], prepared.sql).replace("\n", " ") + ";"


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def commits_per_s(script: Path, socket: Path, writers: int, sync_ms: float) -> float:
    options = f"-c commit_delay={round(sync_ms * 1000)} -c commit_siblings=0"
    command = (
        binaries() / "pgbench", "-h", socket, "-U", "roster", "-n", "-M", "prepared", "-f", script,
        "-c", writers, "-j", 1, "-T", SECONDS, "postgres",
    )  # fmt: skip
    shown = subprocess.run(
        [str(each) for each in command], check=True, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGOPTIONS": options},
    ).stdout  # fmt: skip
    match = re.search(r"tps = ([\d.]+)", shown)
    if match is None:
        raise BenchError(f"pgbench told no rate: {shown[-500:]}")
    return float(match[1])


async def upgrade(url: str) -> None:
    database = database_at(url, serving=False, pool_size=1, pool_timeout_s=3)
    await database.upgrade()
    await database.stop()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="roster-commits-") as name, private_server(folder := Path(name)) as url:
        asyncio.run(upgrade(url))
        scripts = {}
        for title, order in (("lock", PostgresDatabase.commit_order), ("none", NO_LOCK)):
            scripts[title] = folder / f"{title}.sql"
            scripts[title].write_text(creation(order))
        print("| sync | writers | with the lock | without | ratio |\n|---|---|---|---|---|")
        for sync_ms in SYNC_MS:
            for writers in WRITERS:
                with_lock, without = (
                    commits_per_s(scripts[title], folder / "socket", writers, sync_ms) for title in ("lock", "none")
                )
                ratio = with_lock / without
                print(f"| {sync_ms} ms | {writers} | {with_lock:,.0f}/s | {without:,.0f}/s | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

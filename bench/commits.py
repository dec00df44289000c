"""The cost of the lock that orders commits on PostgreSQL: `python -m bench.commits`, in four minutes.

pgbench runs the statement that creates a user, with and without the lock, with 1, 8 and 64 writers, on a disk whose
sync takes 0.1, 1 and 5 ms. Then Roster's service creates users without HTTP, in three ways: one statement for each
user, groups of users in one statement (the default), and one statement for each user without the lock. The sync is
simulated by PostgreSQL's `commit_delay`: set TMPDIR to a folder in memory, so that there is no real sync. Compare the
ratios.
"""

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

import sqlalchemy as sa
import uvloop

from bench.databases import binaries, private_server
from bench.errors import BenchError
from domain.journal import Journal
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.postgres.commits import GroupCommit, GroupCommits, Whole
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.executors import DIALECT
from repositories.engines.statements import Rows, prepare
from repositories.journal import row_of
from repositories.users import USERS
from repositories.work.creation import CHANGE, NEW, UNKNOWN_ID, creating, named
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

WRITERS: Final = (1, 8, 64)
SYNC_MS: Final = (0.1, 1, 5)
SECONDS: Final = 2
ROUNDS: Final = 3
NO_LOCK: Final[sa.Select[Any]] = sa.select(sa.literal_column("1").label("nothing"))


def creation(order: sa.Select[Any]) -> str:
    """The statement of `repositories.work.creation`, with values that many users may have."""
    now = datetime.now(UTC)
    profile = {each.name: getattr(NewUser(name="Alice"), each.name) for each in fields(NewUser)}
    values = {**profile, "created_at": now, "updated_at": now, "version": 1}
    journal = Journal()
    journal.added(User(id=UNKNOWN_ID, **values, deleted_at=None))
    (change,) = journal.changes(actor="bench", request_id="bench", at=now)
    columns = USERS.with_keys(values)
    row = {name: value for name, value in row_of(change).items() if name != "entity_id"}
    parameters = {**named(NEW, columns), **named(CHANGE, row)}
    (statement,), _ = creating(USERS, tuple(columns), order)
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
        "-c", writers, "-j", 1, "-T", 2 * SECONDS, "postgres",
    )  # fmt: skip
    shown = subprocess.run(
        [str(each) for each in command], check=True, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGOPTIONS": options},
    ).stdout  # fmt: skip
    match = re.search(r"tps = ([\d.]+)", shown)
    if match is None:
        raise BenchError(f"pgbench printed no rate: {shown[-500:]}")
    return float(match[1])


class Ungrouped(GroupCommits):
    """Runs each creation as its own statement, without groups."""

    async def run(self, unit: Whole) -> Rows:
        return await GroupCommit(self._connections, unit.together).run_alone(unit)


@asynccontextmanager
async def stores(url: str, sync_ms: float, *, grouped: bool, order: sa.Select[Any]) -> AsyncIterator[UserService]:
    """The service of users, as in a server. Without groups, each writer has its own connection."""
    delayed = f"{url}&commit_delay={round(sync_ms * 1000)}&commit_siblings=0"
    database = database_at(delayed, serving=True, pool_size=8 if grouped else max(WRITERS), pool_timeout_s=30)
    assert isinstance(database, PostgresDatabase)  # noqa: S101
    database.commit_order = order
    await database.start()
    if not grouped:
        database._commits = Ungrouped(database._writing)  # type: ignore[arg-type]  # noqa: SLF001
    yield UserService(SqlUnitsOfWork(database), RequestContext(actor="bench", request_id="bench"))
    await database.stop()


async def creations_per_s(users: UserService, writers: int) -> float:
    """Measured with `writers` tasks. Each creates one user after the other."""
    clock = asyncio.get_running_loop().time
    started, counts = clock(), [0] * writers

    async def write(writer: int) -> None:
        while clock() < started + SECONDS:
            await users.create(NewUser(name="Alice"))
            counts[writer] += 1

    await asyncio.gather(*map(write, range(writers)))
    return sum(counts) / (clock() - started)


async def stores_at(url: str, sync_ms: float, writers: int) -> Sequence[float]:
    """Rates one by one, in groups, and one by one without the lock: medians of alternating rounds."""
    locked = PostgresDatabase.commit_order
    async with (
        stores(url, sync_ms, grouped=False, order=locked) as one_by_one,
        stores(url, sync_ms, grouped=True, order=locked) as in_groups,
        stores(url, sync_ms, grouped=False, order=NO_LOCK) as without,
    ):
        sides = (one_by_one, in_groups, without)
        rounds = [[await creations_per_s(users, writers) for users in sides] for _ in range(ROUNDS)]
    return [median(rates) for rates in zip(*rounds, strict=True)]


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
        print("| sync | writers | pgbench, lock | none | Roster, one by one | groups | no lock | groups / no lock |")
        print("|---|---|---|---|---|---|---|---|")
        for sync_ms, writers in product(SYNC_MS, WRITERS):
            bare = [commits_per_s(scripts[title], folder / "socket", writers, sync_ms) for title in scripts]
            rates = uvloop.run(stores_at(url, sync_ms, writers))
            shown = " | ".join(f"{rate:,.0f}/s" for rate in (*bare, *rates))
            print(f"| {sync_ms} ms | {writers} | {shown} | {rates[1] / rates[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main()

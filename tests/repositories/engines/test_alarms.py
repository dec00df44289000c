"""A failure that keeps a database from working is logged once when it begins and once when it ends."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from tests.conftest import create_postgres_database

from domain.errors import Busy, Damaged, FilesRemoved, NoSpace, Refusal, Unreachable
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.alarms import WHAT_TO_DO, Alarms
from repositories.engines.database import database_at
from repositories.engines.meter import NO_METER
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT = RequestContext(actor="tester", request_id="r1")


class Noted:
    """A meter that keeps the alarms and ignores the rest."""

    def __init__(self) -> None:
        self.on: dict[str, bool] = {}

    def alarm(self, code: str, *, on: bool) -> None:
        self.on[code] = on

    def __getattr__(self, name: str) -> Any:
        return getattr(NO_METER, name)


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str, str]]]:
    """The lines of the log so far: level, event, code."""
    caplog.set_level(logging.INFO, "roster")
    return lambda: [
        (record.levelname, record.getMessage(), record.__dict__["code"])
        for record in caplog.records
        if record.getMessage().startswith("alarm")
    ]


@pytest.mark.parametrize(
    ("alarm", "another", "its_end"),
    [(Unreachable(), "commit", "read"), (NoSpace(), "read", "commit")],
)
def test_an_alarm_is_logged_once_when_it_begins_and_once_when_it_ends(
    noted: Noted, logged: Any, alarm: Refusal, another: Any, its_end: Any
) -> None:
    alarms = Alarms(noted, "a database")
    assert noted.on == dict.fromkeys(WHAT_TO_DO, False)
    for _ in range(3):
        alarms.took("write", 0.1, alarm)
        alarms.took("read", 0.1, Busy("which is none"))
    assert (noted.on[alarm.code], logged()) == (True, [("ERROR", "alarm", alarm.code)])

    if isinstance(alarm, NoSpace):  # a read says nothing about the room
        alarms.took(another, 0.1)
        assert noted.on[alarm.code]
    alarms.took(its_end, 0.1)
    alarms.took(its_end, 0.1)
    assert (noted.on[alarm.code], logged()[1:]) == (False, [("WARNING", "alarm over", alarm.code)])


def test_damage_is_reported_until_the_process_ends(noted: Noted) -> None:
    alarms = Alarms(noted, "a database")
    alarms.require_undamaged()
    alarms.took("read", 0.1, Damaged())
    for kind in ("read", "scan", "write", "commit"):
        alarms.took(kind, 0.1)
    with pytest.raises(Damaged):
        alarms.require_undamaged()
    assert noted.on["database_damaged"]


async def test_a_damaged_page_is_logged_and_makes_the_server_not_ready(
    upgraded_sqlite_url: str, tmp_path: Path, noted: Noted, logged: Any
) -> None:
    with closing(sqlite3.connect(tmp_path / "roster.db")) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'users'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "roster.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    database = database_at(upgraded_sqlite_url, serving=True, pool_size=1, pool_timeout_s=5, meter=noted)
    units = SqlUnitsOfWork(database)
    await units.start()

    await units.require_ready()
    for _ in range(2):
        with pytest.raises(Damaged):
            await UserService(units, CONTEXT).list(limit=10)
    with pytest.raises(Damaged):
        await units.require_ready()
    with pytest.raises(Damaged):  # it would be lost when the backup is restored
        await UserService(units, CONTEXT).create(NewUser(name="Alice"))
    await units.stop()

    assert logged() == [("ERROR", "alarm", "database_damaged")]


def remove(file: Path) -> None:
    file.unlink()


def replace_by_copy(file: Path) -> None:
    copy = file.with_suffix(".copy")
    copy.write_bytes(file.read_bytes())
    copy.rename(file)


@pytest.mark.parametrize("happens", [(remove, "roster.db-wal"), (remove, "roster.db"), (replace_by_copy, "roster.db")])
async def test_removed_files_of_a_running_server_are_logged_and_no_write_is_lost(
    upgraded_sqlite_url: str, tmp_path: Path, noted: Noted, logged: Any, happens: tuple[Callable[[Path], None], str]
) -> None:
    act, name = happens
    database = database_at(upgraded_sqlite_url, serving=True, pool_size=1, pool_timeout_s=5, meter=noted)
    units = SqlUnitsOfWork(database)
    users = UserService(units, CONTEXT)
    await units.start()
    await users.create(NewUser(name="Alice"))
    act(tmp_path / name)

    for _ in range(2):
        with pytest.raises(FilesRemoved):
            await users.create(NewUser(name="Bob"))
        with pytest.raises(FilesRemoved):
            await users.delete(1)
    with pytest.raises(FilesRemoved):
        await units.require_ready()
    if name.endswith("-wal"):  # reads go on, and a server that is killed now has lost nothing
        assert [user.name for user in (await users.list(limit=10)).items] == ["Alice"]
        with closing(sqlite3.connect(f"file:{tmp_path / 'roster.db'}?immutable=1", uri=True)) as connection:
            assert connection.execute("SELECT name FROM users").fetchall() == [("Alice",)]
    await units.stop()

    assert logged() == [("ERROR", "alarm", "files_removed")]


async def test_a_full_disk_is_reported_until_a_commit_succeeds(
    upgraded_sqlite_url: str, noted: Noted, logged: Any
) -> None:
    database: Any = database_at(upgraded_sqlite_url, serving=True, pool_size=1, pool_timeout_s=5, meter=noted)
    units = SqlUnitsOfWork(database)
    users = UserService(units, CONTEXT)
    await units.start()

    await database._writing.run(lambda connection: connection.execute("PRAGMA max_page_count=1").close())
    with pytest.raises(NoSpace):
        await create_without_end(users)
    await users.list(limit=10)
    await units.require_ready()
    assert noted.on["no_space"]
    await database._writing.run(lambda connection: connection.execute("PRAGMA max_page_count=1000000").close())
    await users.create(NewUser(name="Bob"))
    await units.stop()

    assert logged() == [("ERROR", "alarm", "no_space"), ("WARNING", "alarm over", "no_space")]


async def create_without_end(users: UserService) -> None:
    while True:
        await users.create(NewUser(name="Alice", attributes={"long": "x" * 16_000}))


async def test_a_database_that_goes_away_and_comes_back_is_logged(
    postgres_server: str, noted: Noted, logged: Any
) -> None:
    name = "roster_comes_and_goes"
    await create_postgres_database(postgres_server, name)
    url = sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    database = database_at(url, serving=True, pool_size=1, pool_timeout_s=5, meter=noted)
    await database.upgrade()
    units = SqlUnitsOfWork(database)
    users = UserService(units, CONTEXT)
    await units.start()
    server = await asyncpg.connect(postgres_server)

    async def connections(allowed: bool) -> None:
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
        await server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    await connections(allowed=False)
    for ask in (lambda: users.list(limit=1), units.require_ready):
        with pytest.raises(Unreachable):
            await ask()
    assert noted.on["database_unreachable"]
    await connections(allowed=True)
    await users.create(NewUser(name="Alice"))
    await units.require_ready()
    await units.stop()
    await server.execute(f"DROP DATABASE {name}")
    await server.close()

    assert logged() == [("ERROR", "alarm", "database_unreachable"), ("WARNING", "alarm over", "database_unreachable")]

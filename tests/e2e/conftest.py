"""Server processes of this checkout, and requests to them."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa
from httpx2 import AsyncClient
from tests.e2e.forks import Forked, Forks

SOURCE: Final = Path(__file__).parents[2] / "src"
DEADLINE_S: Final = 120
"""How long anything may take on a slow machine before a test fails."""

MODULE: Final = ("-m", "api.commands.main")


@dataclass
class Roster:
    """A `roster` process. Its output is read all the time, since a full pipe would stop it."""

    process: asyncio.subprocess.Process | Forked
    said: list[str] = field(default_factory=list)
    complained: list[str] = field(default_factory=list)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self) -> None:
        for stream, lines in ((self.process.stdout, self.said), (self.process.stderr, self.complained)):
            assert stream is not None
            self._readers.append(asyncio.create_task(self._read(stream, lines)))

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))
            self._news.set()
        self._news.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.said if line.startswith("{")]

    @property
    def errors(self) -> str:
        return "\n".join(self.complained)

    async def line(self, wanted: Callable[[str], bool]) -> str:
        """Returns the first matching line of its output when it is there."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._news.clear()
                for line in self.said:
                    if wanted(line):
                        return line
                if all(reader.done() for reader in self._readers):
                    pytest.fail(f"It ended without saying it: {self.said} {self.complained}")
                await self._news.wait()

    async def url(self) -> str:
        return str(json.loads(await self.line(lambda line: '"event": "serving"' in line))["api"])

    async def address(self) -> tuple[str, int]:
        host, _, port = (await self.url()).removeprefix("http://").rpartition(":")
        return host, int(port)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Returns the exit code when all its output is read."""
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()


async def fresh_process(
    program: Sequence[str],
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *arguments,
        cwd=folder,
        env=environment,
        pass_fds=descriptors,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


Run = Callable[..., Any]


@pytest.fixture(scope="session")
def environment(pytestconfig: pytest.Config) -> Mapping[str, str]:
    """The environment of every process: this checkout's source, and no settings of the person who runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROSTER_")}
    if inherited.pop("PYTHONDONTWRITEBYTECODE", None):  # each of many starts would compile everything again
        inherited["PYTHONPYCACHEPREFIX"] = str(pytestconfig.cache.mkdir("bytecode"))
    return {
        **inherited,
        "PYTHONPATH": str(SOURCE),
        "PYTHONUNBUFFERED": "1",
        "ROSTER_LOG_FORMAT": "json",
        "NO_COLOR": "1",
        "COLUMNS": "300",
    }


@pytest.fixture(scope="session")
def forks(environment: Mapping[str, str]) -> Iterator[Forks]:
    forks = Forks(environment)
    yield forks
    forks.stop()


@asynccontextmanager
async def running(folder: Path, environment: Mapping[str, str], forks: Forks) -> AsyncIterator[Run]:
    """A function that starts `roster`, or another program, with some arguments in a folder. All end with the test.

    It is forked from a process that has loaded it, unless it is to be `fresh`, or gets a socket or other variables in
    its environment than settings.
    """
    started: list[Roster] = []

    async def run(
        *arguments: str,
        program: Sequence[str] = MODULE,
        fresh: bool = False,
        listener: socket.socket | None = None,
        variables: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Roster:
        its_own = {**environment, **{f"ROSTER_{name.upper()}": str(value) for name, value in settings.items()}}
        its_own |= variables or {}
        if listener is not None:
            handed_over = ["--fd", str(listener.fileno())]
            roster = Roster(
                await fresh_process(program, [*arguments, *handed_over], folder, its_own, [listener.fileno()])
            )
        elif fresh or variables:
            roster = Roster(await fresh_process(program, arguments, folder, its_own))
        else:
            roster = Roster(await forks.start(program, arguments, folder, its_own))
        started.append(roster)
        roster.listen()
        return roster

    yield run
    for roster in started:
        await roster.kill()


@pytest.fixture
async def run(tmp_path: Path, environment: Mapping[str, str], forks: Forks) -> AsyncIterator[Run]:
    async with running(tmp_path, environment, forks) as run:
        yield run


@pytest.fixture
def serve_on(run: Run) -> Run:
    """Starts a server on a socket that stays open when it ends."""

    async def serve_on(listener: socket.socket, url: str, *arguments: str, **settings: object) -> Roster:
        roster: Roster = await run("serve", *arguments, listener=listener, **{"database_url": url, **settings})
        return roster

    return serve_on


@pytest.fixture
def serve(run: Run) -> Run:
    """Starts a server on a free port."""

    async def serve(url: str, *arguments: str, **settings: object) -> Roster:
        roster: Roster = await run("serve", "--port", "0", *arguments, **{"database_url": url, **settings})
        return roster

    return serve


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine. SQLite's is a file in the test's folder."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def bare_postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """A new, empty database."""
    name = f"roster_bare_{os.getpid()}"
    connection = await asyncpg.connect(postgres_server)
    await connection.execute(f'CREATE DATABASE "{name}"')
    yield sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(timeout=DEADLINE_S) as client:
        yield client

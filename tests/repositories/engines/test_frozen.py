"""A PostgreSQL server that is frozen: it accepts connections and statements, and answers nothing. No call may wait for
ever, whether it is left alone, cancelled, or cut by the server's stop. With the server it thaws."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from tests import exports

from domain.errors import Busy, Refusal, Uncertain, Unreachable
from domain.limits import Limits
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.pools import keep_alive
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = [
    pytest.mark.heavy,  # freezes a server
    pytest.mark.skipif(
        sys.platform != "linux" or "ROSTER_TEST_POSTGRES_URL" in os.environ,
        reason="freezes the processes of its server",
    ),
]

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
SHORT: Final = Limits(statement_s=0.2, end_s=0.1, stop_s=0.2)
LONG: Final = Limits(statement_s=60, end_s=0.1, stop_s=0.2)
"""A call that is cancelled or cut does not wait for its statement."""

HANGS_S: Final = 20
"""A call that has not ended by then hangs."""


@asynccontextmanager
async def started(url: str, limits: Limits) -> AsyncIterator[PostgresDatabase]:
    made = database_at(url, serving=True, pool_size=4, pool_timeout_s=0.5, limits=limits)
    assert isinstance(made, PostgresDatabase)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def postmaster(postgres_url: str) -> int:
    connection = await asyncpg.connect(postgres_url)
    lines = await connection.fetchval("SELECT pg_read_file('postmaster.pid')")
    await connection.close()
    return int(lines.split()[0])


@contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    os.kill(postmaster, signal.SIGSTOP)  # first: it starts no other process then
    processes = [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(processes):
            os.kill(process, signal.SIGCONT)


class Load:
    """More clients than connections, of all kinds, which call until they are refused."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.users = UserService(SqlUnitsOfWork(database), CONTEXT)
        self.calls = 0
        self.are_busy = asyncio.Event()

    async def drain_export(self) -> None:
        async for _ in self.users.export(exports.USERS):
            pass

    def kinds(self) -> list[Callable[[], Coroutine[Any, Any, object]]]:
        return [
            lambda: self.users.create(NewUser(name="Bob")),
            lambda: self.users.list(limit=10),
            self.users.count,
            self.drain_export,
        ]

    async def call_until_refused(self, call: Callable[[], Coroutine[Any, Any, object]]) -> Refusal:
        while True:
            try:
                await call()
            except Refusal as refusal:
                return refusal
            self.calls += 1
            if self.calls > 100:
                self.are_busy.set()

    def start(self) -> list[asyncio.Task[Refusal]]:
        return [asyncio.create_task(self.call_until_refused(call)) for _ in range(3) for call in self.kinds()]


async def test_calls_to_a_frozen_server_are_refused_and_leave_nothing_half_done(
    postgres_url: str, postmaster: int
) -> None:
    async with asyncio.timeout(HANGS_S), started(postgres_url, SHORT) as database:
        load = Load(database)
        clients = load.start()
        await load.are_busy.wait()
        with frozen(postmaster):
            refusals = await asyncio.gather(*clients)
        assert all(isinstance(each, Busy | Uncertain | Unreachable) for each in refusals)
        created = (await load.users.create(NewUser(name="Alice"))).result
        assert await load.users.get(created.id) == created
        async with load.users.units.snapshot(CONTEXT) as work:
            assert await work.users.count() == len(await work.changes.list(limit=1000))
        await load.drain_export()


async def test_calls_to_a_frozen_server_can_be_cancelled(postgres_url: str, postmaster: int) -> None:
    async with asyncio.timeout(HANGS_S), started(postgres_url, LONG) as database:
        load = Load(database)
        clients = load.start()
        await load.are_busy.wait()
        with frozen(postmaster):
            for _ in range(200):  # they read what was answered before, and go on to what is not
                await asyncio.sleep(0)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        await load.users.create(NewUser(name="Alice"))


async def test_a_server_stops_although_its_database_is_frozen(postgres_url: str, postmaster: int) -> None:
    async with asyncio.timeout(HANGS_S), started(postgres_url, LONG) as database:
        load = Load(database)
        clients = load.start()
        await load.are_busy.wait()
        with frozen(postmaster):
            await database.stop()
            await asyncio.gather(*clients, return_exceptions=True)


def test_an_idle_connection_over_a_network_has_keep_alive() -> None:
    with socket.socket() as far, socket.socket(socket.AF_UNIX) as near:
        keep_alive(far)
        keep_alive(near)
        assert far.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0

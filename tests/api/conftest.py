"""The app in this process, and clients that speak HTTP to it without a network."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import sqlalchemy as sa
import uvicorn
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from tests.conftest import start_empty

from api.app import create_app
from api.container import Container
from api.process.startup import config_of
from api.settings import Settings
from api.web.access import Failures
from domain.keys import Key, NewKey, Scope
from domain.work import RequestContext
from repositories.engines.postgres.database import PostgresDatabase
from repositories.fake import MemoryUnitsOfWork
from services.authentication import Authenticator

if TYPE_CHECKING:
    from tests.conftest import MovedTime


@pytest.fixture(autouse=True)
def own_settings_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keeps the .env file and the environment of the person who runs the tests out of the settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ROSTER_")]:
        monkeypatch.delenv(name)


@cache
def settings_with(**values: Any) -> Settings:
    """Settings of a test, with the defaults of all others. Equal settings are shared: making them takes longer
    than most requests."""
    return Settings(**values)


@asynccontextmanager
async def serving(container: Container) -> AsyncIterator[AsyncClient]:
    app = create_app(container, open_locally=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def client_of() -> Callable[[Container], AbstractAsyncContextManager[AsyncClient]]:
    """Starts an app with the parts of a container, and returns a client of it."""
    return serving


DEADLINE_S: Final = 30
"""How long a server may take to start on a slow machine."""


@dataclass(frozen=True)
class Served:
    """A server that serves until the block ends."""

    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def served_at_a_port(container: Container) -> AsyncIterator[Served]:
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # so that asyncio sends at once what is short
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        server = uvicorn.Server(config_of(settings_with(), create_app(container, open_locally=True)))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with AsyncClient(timeout=DEADLINE_S) as http:
                await http.get(f"http://127.0.0.1:{port}/health/live")  # waits until it is there
            yield Served(port, server)
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
def served() -> Callable[[Container], AbstractAsyncContextManager[Served]]:
    """Serves an app with the parts of a container, as the server process does, and returns its address."""
    return served_at_a_port


@pytest.fixture
def container_at() -> Callable[[str], Container]:
    """The container of a server with a database at some URL."""
    return lambda url: Container(settings=providers.Object(settings_with(database_url=url, pool_size=4)))


@pytest.fixture
def in_memory() -> Container:
    """The container of a server without a database."""
    return Container(
        settings=providers.Object(settings_with()),
        units=providers.Object(MemoryUnitsOfWork()),
    )


@pytest.fixture
async def client(in_memory: Container) -> AsyncIterator[AsyncClient]:
    """A client of a fresh directory in memory."""
    async with serving(in_memory) as client:
        yield client


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine, with the schema at its head."""
    name = {"sqlite": "upgraded_sqlite_url", "postgres": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


class KeptDatabase(PostgresDatabase):
    """Stays connected when an app stops: to connect takes as long as most tests."""

    async def stop(self) -> None: ...

    async def close(self) -> None:
        await super().stop()


@pytest.fixture(scope="module")
async def kept_database(empty_postgres_url: str) -> AsyncIterator[KeptDatabase]:
    """The session's database on PostgreSQL, for all apps of a file, one after the other."""
    database = KeptDatabase(sa.make_url(empty_postgres_url), serving=True, pool_size=4, pool_timeout_s=5)
    yield database
    await database.close()


@pytest.fixture
async def emptied_database(kept_database: KeptDatabase) -> KeptDatabase:
    await start_empty(kept_database)
    return kept_database


def container_on(engine: str, request: pytest.FixtureRequest, container_at: Callable[[str], Container]) -> Container:
    """The container of a server with a fresh database."""
    if engine == "sqlite":
        return container_at(request.getfixturevalue("upgraded_sqlite_url"))
    container = container_at(request.getfixturevalue("empty_postgres_url"))
    container.database.override(providers.Object(request.getfixturevalue("emptied_database")))
    return container


@pytest.fixture(params=["sqlite", "postgres"])
def database_container(request: pytest.FixtureRequest, container_at: Callable[[str], Container]) -> Container:
    """The same on each engine."""
    return container_on(request.param, request, container_at)


@pytest.fixture
async def database_client(database_container: Container) -> AsyncIterator[AsyncClient]:
    """A client of a fresh directory on each engine."""
    async with serving(database_container) as client:
        yield client


class Directory:
    """A directory in memory, served to its own machine, with clocks that tests move, and the clients of it."""

    def __init__(self, time: "MovedTime", **settings: Any) -> None:
        units = MemoryUnitsOfWork(time.clock)
        self.time = time
        self.container = Container(
            settings=providers.Object(settings_with(**settings)),
            units=providers.Object(units),
            authenticator=providers.Singleton(Authenticator, units, time.monotonic, time.clock),
        )
        self.app = self.served(open_locally=True)

    def served(self, **options: Any) -> FastAPI:
        app = create_app(self.container, **options)
        app.state.failures = Failures(self.time.monotonic)
        return app

    async def key(self, *scopes: Scope, expires_at: datetime | None = None) -> tuple[Key, str]:
        """A new key, made on the command line."""
        service = self.container.keys(RequestContext(actor="cli:tester", request_id="-"))
        created: tuple[Key, str] = (await service.create(NewKey(name="n", scopes=scopes, expires_at=expires_at))).result
        return created

    async def revoke(self, key: Key) -> None:
        await self.container.keys(RequestContext(actor="cli:tester", request_id="-")).revoke(key.id, force=True)

    async def ask(
        self, method: str, path: str, *, key: str | None = None, address: str = "127.0.0.1", **options: Any
    ) -> Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        options["headers"] = {**headers, **options.get("headers", {})}
        transport = ASGITransport(app=self.app, client=(address, 50000))
        async with AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)


@pytest.fixture
def directory(time: "MovedTime") -> Directory:
    return Directory(time)


@pytest.fixture
def directory_with(time: "MovedTime") -> Callable[..., Directory]:
    """The same, with settings."""
    return lambda **settings: Directory(time, **settings)

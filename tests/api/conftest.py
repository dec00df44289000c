"""The app in this process, and clients that speak HTTP to it without a network."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings
from repositories.memory import MemoryUnitsOfWork


@pytest.fixture(autouse=True)
def own_settings_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No .env and no environment of whoever runs the tests gets into the settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ROSTER_")]:
        monkeypatch.delenv(name)


@asynccontextmanager
async def serving(container: Container) -> AsyncIterator[AsyncClient]:
    app = create_app(container, open_at_home=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def client_of() -> Callable[[Container], AbstractAsyncContextManager[AsyncClient]]:
    """Starts an app on the parts of a container and gives a client of it."""
    return serving


@pytest.fixture
def container_at() -> Callable[[str], Container]:
    """The container of a server with a database at some URL."""
    return lambda url: Container(settings=providers.Object(Settings(database_url=url, pool_size=4)))


@pytest.fixture
def in_memory() -> Container:
    """The container of a server without a database."""
    return Container(
        settings=providers.Object(Settings()),
        units=providers.Object(MemoryUnitsOfWork()),
    )


@pytest.fixture
async def client(in_memory: Container) -> AsyncIterator[AsyncClient]:
    """A client of a fresh directory in memory."""
    async with serving(in_memory) as client:
        yield client


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database_client(database_url: str, container_at: Callable[[str], Container]) -> AsyncIterator[AsyncClient]:
    """A client of a fresh directory on each engine."""
    async with serving(container_at(database_url)) as client:
        yield client

"""A process loads only the modules that it needs, so that it starts quickly."""

from typing import TYPE_CHECKING, Final

import pytest
from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

TELLING: Final = ("-X", "importtime", "-m", "api.commands.main")
"""A `roster` that prints its imports on standard error."""


async def loaded_by(roster: "Roster", code: int = 0) -> set[str]:
    """The modules that a process had imported when it ended."""
    assert await roster.ended() == code, roster.errors
    return {line.rpartition("|")[2].strip() for line in roster.complained if line.startswith("import time:")}


async def loaded_to_serve(run: "Run", http: AsyncClient, url: str) -> set[str]:
    roster = await run("serve", "--port", "0", program=TELLING, fresh=True, database_url=url)
    where = await roster.url()
    assert (await http.get(f"{where}/health/ready")).status_code == 200
    assert (await http.post(f"{where}/users/", json={"name": "Alice"})).status_code == 201
    await roster.stop()
    return await loaded_by(roster)


async def test_a_server_on_sqlite_loads_neither_the_migrations_nor_the_driver_of_postgres(
    run: "Run", http: AsyncClient, upgraded_sqlite_url: str
) -> None:
    loaded = await loaded_to_serve(run, http, upgraded_sqlite_url)

    assert {"api.process.server", "aiosqlite"} <= loaded
    assert loaded & {"alembic", "mako", "sqlalchemy.orm", "asyncpg", "repositories.engines.postgres.database"} == set()


async def test_a_server_on_a_fresh_file_loads_the_migrations(run: "Run", http: AsyncClient, sqlite_url: str) -> None:
    """The twin of the tests above: a module that is loaded is seen."""
    assert {"alembic", "mako"} <= await loaded_to_serve(run, http, sqlite_url)


async def test_a_server_on_postgres_whose_schema_is_at_its_head_loads_no_migrations(
    run: "Run", http: AsyncClient, postgres_url: str
) -> None:
    loaded = await loaded_to_serve(run, http, postgres_url)

    assert "asyncpg" in loaded
    assert loaded & {"alembic", "mako"} == set()


@pytest.mark.parametrize("command", ["version", "keys generate"])
async def test_a_command_without_a_database_loads_neither_database_nor_server(run: "Run", command: str) -> None:
    loaded = await loaded_by(await run(*command.split(), program=TELLING, fresh=True))

    assert "typer" in loaded
    assert loaded & {"sqlalchemy", "fastapi", "uvicorn", "dependency_injector"} == set()


async def test_a_command_beside_the_server_loads_no_server(run: "Run", sqlite_url: str) -> None:
    loaded = await loaded_by(await run("db", "status", program=TELLING, fresh=True, database_url=sqlite_url), code=2)

    assert "sqlalchemy" in loaded
    assert loaded & {"uvicorn", "api.app", "alembic", "asyncpg"} == set()


async def test_a_server_with_a_wrong_setting_refuses_before_it_is_loaded(run: "Run") -> None:
    loaded = await loaded_by(await run("serve", "--port", "70000", program=TELLING, fresh=True), code=2)

    assert loaded & {"sqlalchemy", "fastapi", "uvicorn"} == set()

"""Databases for tests that run on each engine."""

import pytest

from repositories.engines.database import Database


@pytest.fixture(params=["sqlite", "postgres"])
def fresh_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without a schema, on each engine in turn."""
    name = {"sqlite": "sqlite_url", "postgres": "fresh_postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each engine in turn, started."""
    started: Database = request.getfixturevalue(request.param)
    return started

"""What is particular to each engine: their databases before they have a schema."""

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def fresh_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without a schema, on each engine in turn."""
    name = {"sqlite": "sqlite_url", "postgres": "fresh_postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url

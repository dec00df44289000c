"""Which database a URL means, and what is said of those that mean none."""

from pathlib import Path

import pytest

from domain.errors import NotReady
from repositories.engines.database import Database, database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase


def database(url: str) -> Database:
    return database_at(url, serving=True, pool_size=2, pool_timeout_s=1)


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_a_file_is_a_sqlite_database(tmp_path: Path, scheme: str) -> None:
    assert isinstance(database(f"{scheme}:///{tmp_path / 'roster.db'}"), SqliteDatabase)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_a_server_is_a_postgres_database(scheme: str) -> None:
    assert isinstance(database(f"{scheme}://roster:secret@localhost:5432/roster"), PostgresDatabase)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+aiosqlite:///:memory:"])
def test_sqlite_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(NotReady, match=r"SQLite needs a file, as in sqlite:///roster\.db"):
        database(url)


@pytest.mark.parametrize(
    "url",
    ["mysql://roster:secret@localhost/roster", "postgresql+psycopg://roster:secret@localhost/roster", "file:///secret"],
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(NotReady, match="begins with sqlite:/// or postgresql://") as refused:
        database(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["", "secret", "roster:secret@localhost", "://secret", "postgresql://roster:secret@localhost:port/roster",
     "postgresql://roster:secret@[::1/roster"],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(NotReady, match="cannot be read") as refused:
        database(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://roster:secret@db.example.org/directory", "PostgreSQL, directory at db.example.org"),
        ("postgresql://roster:secret@/directory", "PostgreSQL, directory at a local socket"),
    ],
)
def test_a_database_is_named_without_credentials(url: str, name: str) -> None:
    assert database(url).name == name

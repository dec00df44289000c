"""Which database a URL means, and the messages for invalid URLs."""

import re
from pathlib import Path

import pytest

from domain.errors import NotReady
from repositories.engines.database import Database, database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.replicas import PostgresReplicas
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
    ("url", "said"),
    [
        ("", "begins with sqlite:/// or postgresql://"),
        ("secret", "begins with"),
        ("roster:secret@localhost", "begins with"),
        ("://secret", "begins with"),
        ("sqlite:secret.db", "Write three slashes"),
        ("sqlite:/secret.db", "Write three slashes"),
        ("sqlite://secret.db", "Write three slashes"),
        ("postgresql:roster:secret@localhost/roster", "cannot be read"),
        ("postgresql://roster:secret@[::1/roster", "cannot be read"),
        ("postgresql://roster:secret@localhost:port/roster", "port in the database URL must be a number"),
        ("postgresql://roster:secret@localhost:0/roster", "port in the database URL must be a number"),
        ("postgresql://roster:secret@localhost:65536/roster", "port in the database URL must be a number"),
        ("postgresql://roster:secret@[::1]:x/roster", "port in the database URL must be a number"),
        ("postgresql://roster:secret@one:5432,two:port/roster", "port in the database URL must be a number"),
        ("postgresql://roster:se@secret@localhost/roster", "write %40 for @"),
        ("postgresql://roster:se/secret@localhost/roster", "%2F for /"),
        ("postgresql://roster:se:secret@localhost/roster", "%3A for :"),
        ("postgresql://roster:se?secret@localhost/roster", "%3F for ?"),
    ],
)
def test_an_invalid_url_is_refused_and_not_shown_in_the_message(url: str, said: str) -> None:
    with pytest.raises(NotReady, match=re.escape(said)) as refused:
        database(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://roster:secret@db.example.org/directory", "PostgreSQL, directory at db.example.org:5432"),
        ("postgresql://roster:secret@[::1]:6543/directory", "PostgreSQL, directory at [::1]:6543"),
        ("postgresql://roster:secret@/directory", "PostgreSQL, directory at a local socket"),
    ],
)
def test_a_database_is_named_without_credentials(url: str, name: str) -> None:
    assert database(url).name == name


def with_replicas(urls: str, primary: str = "postgresql://roster@one/roster") -> Database:
    return database_at(primary, serving=True, pool_size=2, pool_timeout_s=1, replica_url=urls, replica_lag_s=5)


@pytest.mark.parametrize(
    ("urls", "places"),
    [
        ("postgresql://roster@two/roster", ["two:5432"]),
        (" postgresql://roster@two/roster, postgres://roster@three:5433/roster ,", ["two:5432", "three:5433"]),
    ],
)
def test_replicas_are_urls_with_commas_between_them(urls: str, places: list[str]) -> None:
    database = with_replicas(urls)
    assert isinstance(database, PostgresDatabase)
    assert isinstance(database.replicas, PostgresReplicas)
    assert [each.name for each in database.replicas._replicas] == places


def test_a_database_without_replicas_has_none() -> None:
    assert with_replicas("").replicas is None
    assert with_replicas(" ").replicas is None


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ("secret", "ROSTER_REPLICA_URL: The database URL begins with"),
        ("postgresql://roster:secret@two:x/roster", "ROSTER_REPLICA_URL: The port"),
        ("sqlite:///secret.db", "ROSTER_REPLICA_URL names PostgreSQL servers"),
    ],
)
def test_other_replicas_are_refused(urls: str, said: str) -> None:
    with pytest.raises(NotReady, match=said) as refused:
        with_replicas(urls)
    assert "secret" not in str(refused.value)


def test_sqlite_has_no_replicas(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="SQLite has no replicas"):
        with_replicas("postgresql://roster@two/roster", f"sqlite:///{tmp_path / 'roster.db'}")


@pytest.mark.parametrize(
    ("hosts", "places"),
    [
        ("@one,two/roster", "one:5432, two:5432"),
        ("@one:5433,two,[::1]:5434/roster?target_session_attrs=read-write", "one:5433, two:5432, [::1]:5434"),
        ("@/roster?host=one,two", "one:5432, two:5432"),
        ("@/roster?host=one:5433&host=two", "one:5433, two:5432"),
        ("@/roster?host=/run/one,/run/two", "a local socket, a local socket"),
    ],
)
def test_a_url_may_name_several_hosts(hosts: str, places: str) -> None:
    assert database(f"postgresql://roster:secret{hosts}").name == f"PostgreSQL, roster at {places}"


def test_each_replica_has_a_url_of_its_own() -> None:
    with pytest.raises(NotReady, match="name each replica by a URL of its own"):
        with_replicas("postgresql://roster@two,three/roster")

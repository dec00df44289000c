"""Writes many users directly into Roster's tables. Over HTTP that would take hours."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import sqlalchemy as sa


def words(text: str) -> list[str]:
    return text.split()


FIRST: Final = words(
    "Ada Adam Aisha Alan Alice Amara Amir Ana Anders Anna Anton Aoife Ben Bianca Boris Bruno Carla Carlos Chen Chloe "
    "Clara Daniel Daria David Diego Dina Edith Elena Elias Emil Emma Erik Esra Eva Fatima Felix Finn Freya Gina Goran "
    "Grace Hana Hans Hassan Helen Hugo Ian Ida Ines Ingrid Ivan Jack Jana Jin Johan Jonas Judith Julia Kaito Karim "
    "Kate Kofi Lara Lars Leila Leo Lina Luca Lucy Maja Malik Marco Maria Mateo Mei Mila Mohamed Nadia Nils Nina Noah "
    "Nora Olga Omar Oscar Paula Pedro Petra Rania Ravi Rosa Ruben Sara Sofia Sven Tara Theo Uma Viktor Yara Zoe"
)
LAST: Final = words(
    "Abebe Adler Ahmed Almeida Andersen Bauer Becker Bell Berg Bianchi Blanc Brown Castro Chan Chen Clark Costa Cruz "
    "Dahl Dias Dubois Eriksen Evans Farah Fischer Fonseca Ford Garcia Gomez Gray Green Gupta Haas Hansen Hill Hoffman "
    "Holm Hughes Ibrahim Ito Ivanov Jansen Jones Kaya Keller Khan Kim King Klein Kovacs Kumar Lang Larsen Lee Lopez "
    "Lund Mancini Martin Mendes Meyer Moore Mori Murphy Nagy Nair Nielsen Novak Okafor Olsen Ortiz Osman Park Patel "
    "Perez Popov Quinn Ramos Reid Ricci Rossi Roth Ruiz Sato Schmidt Silva Singh Smith Sousa Stone Suzuki Tanaka "
    "Taylor Torres Vargas Walker Wang Weber White Wolf Wood Yilmaz Young Zhang"
)

FROM: Final = datetime(2024, 1, 1, tzinfo=UTC)
OVER: Final = timedelta(days=730)

COLUMNS: Final = (
    "name", "name_key", "email", "email_key", "status", "attributes", "created_at", "updated_at", "version",
)  # fmt: skip
STRIDE: Final = 618_033
"""Coprime to the number of names, so that neighbours in the table are far apart in the alphabet."""


def name_of(number: int) -> str:
    """A first, a middle and a last name. The whole name is unique for more than a million users."""
    at = number * STRIDE % (len(FIRST) * len(FIRST) * len(LAST))
    at, first = divmod(at, len(FIRST))
    last, middle = divmod(at, len(FIRST))
    return f"{FIRST[first]} {FIRST[middle]} {LAST[last]}"


def email_of(number: int) -> str:
    first, _, last = name_of(number).split()
    return f"{first}.{last}.{number}@example.org"


def created_at(number: int, count: int) -> datetime:
    """Times increase with the ids, at equal intervals."""
    return FROM + OVER * ((number - 1) / count)


def row(number: int, count: int) -> tuple[Any, ...]:
    """Everything is ASCII, so that the folded form of a key is its lower case."""
    name, email, at = name_of(number), email_of(number), created_at(number, count)
    return name, name.lower(), email, email.lower(), "active", "{}", at, at, 1


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    return (row(number, count) for number in range(1, count + 1))


def fill(database_url: str, count: int) -> None:
    """Fill a database with a current schema that no server uses. Ids start at 1."""
    url = sa.make_url(database_url)
    if url.drivername == "sqlite":
        fill_sqlite(url.database or "", count)
    else:
        asyncio.run(fill_postgres(database_url, count))


FAST: Final = ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "PRAGMA cache_size=-1000000")
"""If the machine stops meanwhile, the file is lost. A server that opens it uses its own settings."""

INDEXES: Final = "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'users' AND type = 'index' AND sql IS NOT NULL"


def fill_sqlite(file: str, count: int) -> None:
    """The indexes are created again at the end: each entry of ten million rows would be a read of a random page."""
    statement = f"INSERT INTO users ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
    with closing(sqlite3.connect(file)) as connection, connection:
        for pragma in FAST:
            connection.execute(pragma)
        indexes = connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.executemany(statement, map(as_text, rows(count)))
        for _, definition in indexes:
            connection.execute(definition)


def as_text(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.isoformat(timespec="microseconds") if isinstance(each, datetime) else each for each in values)


POSTGRES_INDEXES: Final = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = 'users'::regclass AND NOT indisprimary
"""


async def fill_postgres(url: str, count: int) -> None:
    """Fill the database, with the indexes created at the end, and run ANALYZE, as autovacuum would within a minute."""
    connection = await asyncpg.connect(url, command_timeout=3600)
    try:
        indexes = await connection.fetch(POSTGRES_INDEXES)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.copy_records_to_table("users", records=rows(count), columns=COLUMNS)
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM ANALYZE users")
    finally:
        await connection.close()

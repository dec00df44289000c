"""An executor refuses a statement that it cannot run as SQLAlchemy would, and says what to use instead."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INET, JSONB

from domain.users import Status
from repositories.engines.database import Database
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.postgres.executors import DIALECT as POSTGRES
from repositories.engines.schema import BigId, Choice, Instant, Json, Key
from repositories.engines.sqlite.executors import DIALECT as SQLITE
from repositories.engines.sqlite.executors import fetch_rows
from repositories.engines.statements import LARGE, Unsupported, prepare

DIALECTS: Final = pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=["sqlite", "postgres"])


class Colour(Enum):
    RED = "red"


class Celsius(sa.types.TypeDecorator[float]):
    """A type of a developer's own, over one that is refused."""

    impl = sa.Float
    cache_ok = True


def table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), sa.Column("id", BigId, primary_key=True), *columns)


defaults = table("defaults", sa.Column("a", sa.Text, default="x"), sa.Column("b", sa.Text))
computed = table("computed", sa.Column("a", sa.Text, default=lambda: "x"), sa.Column("b", sa.Text))
in_sql = table("in_sql", sa.Column("a", sa.Text, default=sa.func.lower("X")), sa.Column("b", sa.Text))
updated = table("updated", sa.Column("a", sa.Text, onupdate="x"), sa.Column("b", sa.Text))
typed = table(
    "typed",
    sa.Column("numeric", sa.Numeric),
    sa.Column("float", sa.Float),
    sa.Column("double", sa.Double),
    sa.Column("jsonb", JSONB),
    sa.Column("enum", sa.Enum(Colour, native_enum=False)),
    sa.Column("native_enum", sa.Enum(Colour)),
    sa.Column("interval", sa.Interval),
    sa.Column("date", sa.Date),
    sa.Column("time", sa.Time),
    sa.Column("uuid", sa.Uuid),
    sa.Column("array", sa.ARRAY(sa.Text)),
    sa.Column("inet", INET),
    sa.Column("decorated", Celsius),
)
TYPED: Final = pytest.mark.parametrize(
    "column", [each for each in typed.columns if each.name != "id"], ids=lambda each: each.name
)

NO_DEFAULT: Final = "a: an executor does not run Python-side `default` or `onupdate`. Set it by a parameter, or use "
NO_IN: Final = ": an executor does not expand parameters, as IN needs it. Pass a JSON array to a subquery, or use "

REFUSED: Final[dict[str, tuple[Callable[[], sa.Executable], dict[str, Any], str]]] = {
    "a default": (lambda: sa.insert(defaults), {"b": "y"}, "defaults." + NO_DEFAULT),
    "a computed default": (lambda: sa.insert(computed), {"b": "y"}, "computed." + NO_DEFAULT),
    "onupdate": (
        lambda: sa.update(updated).where(updated.c.id == sa.bindparam("its_id")),
        {"b": "y", "its_id": 1},
        "updated." + NO_DEFAULT,
    ),
    "IN": (lambda: sa.select(defaults.c.id).where(defaults.c.id.in_([1, 2])), {}, "id_1" + NO_IN),
    "NOT IN": (lambda: sa.select(defaults.c.id).where(defaults.c.id.not_in([1, 2])), {}, "id_1" + NO_IN),
    "IN with a parameter": (
        lambda: sa.select(defaults.c.id).where(defaults.c.id.in_(sa.bindparam("ids", expanding=True))),
        {},
        "ids" + NO_IN,
    ),
    "a DELETE with IN": (lambda: sa.delete(defaults).where(defaults.c.id.in_([1, 2])), {}, "id_1" + NO_IN),
    "a literal that is executed": (
        lambda: sa.select(defaults.c.id).where(defaults.c.id == sa.bindparam("id", literal_execute=True)),
        {},
        "id" + NO_IN,
    ),
}


@DIALECTS
@pytest.mark.parametrize("refused", REFUSED)
def test_a_statement_that_needs_more_than_compiled_text_is_refused(dialect: sa.Dialect, refused: str) -> None:
    statement, parameters, message = REFUSED[refused]
    with pytest.raises(Unsupported) as unsupported:
        prepare(statement(), dialect, parameters)
    assert str(unsupported.value) == f"{message}the unit's session."


@DIALECTS
@TYPED
@pytest.mark.parametrize("use", ["read", "written", "compared", "returned"])
def test_a_type_that_the_drivers_treat_differently_is_refused(
    dialect: sa.Dialect, column: sa.Column[Any], use: str
) -> None:
    """The message names the column or the parameter, its type, and what to use instead."""
    statements: dict[str, tuple[sa.Executable, dict[str, Any], str]] = {
        "read": (sa.select(column), {}, f"The column {column.name}"),
        "written": (sa.insert(typed), {column.name: None}, f"The parameter {column.name}"),
        "compared": (
            sa.select(typed.c.id).where(column == sa.bindparam("it", type_=column.type)), {}, "The parameter it",
        ),
        "returned": (sa.delete(typed).returning(column), {}, f"The column {column.name}"),
    }  # fmt: skip
    statement, parameters, where = statements[use]
    with pytest.raises(Unsupported) as unsupported:
        prepare(statement, dialect, parameters)
    assert str(unsupported.value) == (
        f"{where} is of the type {type(column.type).__name__}, which does not work the same with both drivers. "
        "Use a type of `repositories.engines.schema`, or the unit's session."
    )


def test_a_type_is_refused_only_on_the_dialect_whose_variant_is_unsupported() -> None:
    column = sa.column("price", sa.Text().with_variant(sa.Numeric(), "postgresql"))
    with pytest.raises(Unsupported, match=r"The column price is of the type .*Numeric, which .* the unit's session"):
        prepare(sa.select(column), POSTGRES, None)
    assert prepare(sa.select(column), SQLITE, None).readers == []


@DIALECTS
@pytest.mark.parametrize(
    "type_", [sa.String, sa.Text, Key, sa.Integer, BigId, sa.Boolean, Instant, Json, sa.LargeBinary, Choice(Status)]
)
def test_the_types_of_the_schema_are_accepted(dialect: sa.Dialect, type_: Any) -> None:
    column = sa.column("it", type_)
    prepare(sa.select(column).where(column == sa.bindparam("value", type_=column.type)), dialect, None)


@DIALECTS
def test_an_executor_runs_nothing_of_a_statement_that_it_refuses(dialect: sa.Dialect) -> None:
    """It is refused at each use, not only when it is compiled."""
    for _ in range(2):
        with pytest.raises(Unsupported):
            prepare(sa.insert(defaults), dialect, {"b": "y"})


async def test_a_refused_statement_does_not_end_a_transaction(database: Database) -> None:
    """Nothing of it reached the database."""
    async with database.transaction() as executor:
        with pytest.raises(Unsupported):
            await executor.fetch(sa.insert(defaults), {"b": "y"})
        assert [tuple(row) for row in await executor.fetch(sa.select(sa.literal_column("1")))] == [(1,)]
        await executor.commit()
    with pytest.raises(Unsupported):
        await database.reader.fetch(sa.select(defaults.c.id).where(defaults.c.id.in_([1])))


@DIALECTS
def test_a_default_that_the_database_computes_is_accepted(dialect: sa.Dialect) -> None:
    prepared = prepare(sa.insert(in_sql), dialect, {"b": "y"})
    assert "lower(" in prepared.sql
    assert prepared.arguments({"b": "y"}) == ["X", "y"]


@DIALECTS
def test_an_insert_with_a_value_for_every_default_is_accepted(dialect: sa.Dialect) -> None:
    """The twin of the refusals: the same tables, and no default that Python computes."""
    assert prepare(sa.insert(defaults), dialect, {"a": "x", "b": "y"}).arguments({"a": "x", "b": "y"}) == ["x", "y"]
    prepare(sa.update(updated).where(updated.c.id == sa.bindparam("its_id")), dialect, {"a": "x", "its_id": 1})


rows = sa.Table(
    "json_rows",
    sa.MetaData(),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("text", sa.Text),
    sa.Column("key", Key),
    sa.Column("time", Instant),
    sa.Column("document", Json),
)

WRITE: Final = sa.insert(rows).from_select([each.name for each in rows.columns], rows_of(*rows.columns))
READ: Final = sa.select(*rows.columns).order_by(rows.c.number)
NOON: Final = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)


def creation(database: Database) -> str:
    number, time, document = ("BIGINT", "TIMESTAMPTZ", "JSON") if database.locks_rows else ("INTEGER", "TEXT", "JSON")
    return f'CREATE TABLE json_rows (number {number}, "text" TEXT, "key" TEXT, time {time}, document {document})'


async def written(database: Database, values: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows as they come back, in a transaction that is undone."""
    async with database.transaction() as executor:
        await executor.fetch(sa.text(creation(database)))
        await executor.fetch(WRITE, {ROWS: as_parameter(values)})
        return [tuple(row) for row in await executor.fetch(READ)]


TEXTS: Final = ["", " ", "'", '"', "\\", "a\nb", "%_", "null", "1", "ß😀\uffff", "[1]", '{"a": 1}', "\u2028"]
TEXTS_LIKE_NUMBERS: Final = ["-1", "1e3", "007", "9007199254740993", "true", "\x01\x7f", "\\u0041", "e\u0301", "\ufeff"]
DOCUMENTS: Final = [
    {"a": 1},
    {"a": [1, 1.0, True, None, "ß"]},
    {"b": {"'": '"\\'}},
    {"n": 2**53 - 1},
    {"f": 0.1},
    {},
    [],
    [["user", 1], ["user", 2]],
    {"z": 1, "a": 2},
    {"numbers": [-0.0, 1e-300, 5e-324, 1.7976931348623157e308, -(2**53) + 1, 100000000000000000000]},
    {"text": "\x01\x7f\u2028\ufeff😀 \\u0041 e\u0301"},
]
TIMES: Final = [
    NOON,
    NOON.replace(microsecond=0),
    NOON.replace(microsecond=1),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
NUMBERS: Final = [0, -1, 2**31, 2**53 - 1, -(2**53) + 1, 2**53 + 1, 2**63 - 1, -(2**63)]


async def test_many_rows_are_read_as_they_were_written(database: Database) -> None:
    texts = [*TEXTS, *TEXTS_LIKE_NUMBERS]
    values: list[tuple[Any, ...]] = [(1000 + number, text, text, NOON, None) for number, text in enumerate(texts)]
    values += [(2000 + number, None, None, None, document) for number, document in enumerate(DOCUMENTS)]
    values += [(3000 + number, None, None, time, None) for number, time in enumerate(TIMES)]
    values += [(number, None, None, None, None) for number in NUMBERS]

    kept = await written(database, values)

    assert list(map(repr, kept)) == [repr(row) for row in sorted(values, key=lambda row: row[0])]


async def test_a_time_of_another_zone_is_kept_in_utc(database: Database) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    [(_, _, _, time, _)] = await written(database, [(1, None, None, there, None)])
    assert (time, time.tzinfo) == (NOON, UTC)


async def test_json_of_many_rows_is_stored_exactly_as_that_of_one_row(database: Database) -> None:
    """Only the blanks differ."""
    values = [(number, None, None, None, document) for number, document in enumerate(DOCUMENTS)]
    async with database.transaction() as executor:
        await executor.fetch(sa.text(creation(database)))
        await executor.fetch(WRITE, {ROWS: as_parameter(values)})
        stored = await executor.fetch(sa.select(sa.cast(rows.c.document, sa.Text)).order_by(rows.c.number))
    assert [row[0] for row in stored] == [
        json.dumps(document, ensure_ascii=False, separators=(",", ":")) for document in DOCUMENTS
    ]


async def test_none_is_stored_as_null(database: Database) -> None:
    async with database.transaction() as executor:
        await executor.fetch(sa.text(creation(database)))
        await executor.fetch(WRITE, {ROWS: as_parameter([(1, None, None, None, None)])})
        nulls = sa.select(*[rows.c[name].is_(None) for name in ("text", "key", "time", "document")])
        assert [tuple(map(bool, row)) for row in await executor.fetch(nulls)] == [(True,) * 4]


async def test_rows_are_written_in_their_order(database: Database) -> None:
    """The numbers that a database generates for them rise."""
    number = "BIGINT GENERATED BY DEFAULT AS IDENTITY" if database.locks_rows else "INTEGER PRIMARY KEY AUTOINCREMENT"
    texts = [f"text {each * 7919 % 5000}" for each in range(5000)]
    write = sa.insert(rows).from_select(["text"], rows_of(rows.c.text)).returning(rows.c.number)
    async with database.transaction() as executor:
        await executor.fetch(sa.text(f'CREATE TABLE json_rows (number {number}, "text" TEXT)'))
        numbers = await executor.fetch(write, {ROWS: as_parameter([(text,) for text in texts])})
        kept = await executor.fetch(sa.select(rows.c.text).order_by(rows.c.number))
    assert [row[0] for row in numbers] == list(range(1, 5001))
    assert [row[0] for row in kept] == texts


@DIALECTS
def test_the_text_of_a_statement_is_the_same_for_any_number_of_rows(dialect: sa.Dialect) -> None:
    few, many = ({ROWS: as_parameter([(1, "a", None, None, None)] * number)} for number in (1, 5000))
    assert prepare(WRITE, dialect, few) is prepare(WRITE, dialect, many)
    assert [name for name, _ in prepare(WRITE, dialect, few).order] == [ROWS]


async def test_rows_of_a_parameter_are_read_in_their_order(database: Database) -> None:
    """Changes get their numbers in this order. The rows themselves are neither sorted nor numbered."""
    numbers = [(number * 7919) % 5000 for number in range(5000)]
    taken = rows_of(rows.c.number, rows.c.text)
    found = await database.reader.fetch(taken, {ROWS: as_parameter([(number, f"{number}") for number in numbers])})
    assert [tuple(row) for row in found] == [(number, str(number)) for number in numbers]


async def test_numbers_and_nulls_keep_their_types(database: Database) -> None:
    taken = rows_of(rows.c.number, rows.c.text, rows.c.time)
    values = [(2**53 - 1, "1", None), (-(2**53) + 1, "", NOON), (0, None, None), (None, "null", None)]
    found = [tuple(row) for row in await database.reader.fetch(taken, {ROWS: as_parameter(values)})]
    assert found == values
    assert [type(row[0]) for row in found] == [int, int, int, type(None)]


@pytest.mark.parametrize("count", [0, 1, 5000])
async def test_any_number_of_rows_is_one_statement(database: Database, count: int) -> None:
    values: list[tuple[Any, ...]] = [(number, "x" * 20, None, NOON, {"n": number}) for number in range(count)]
    assert await written(database, values) == values


@DIALECTS
def test_a_value_that_is_not_json_is_refused(dialect: sa.Dialect) -> None:
    prepared = prepare(rows_of(rows.c.number), dialect, None)
    with pytest.raises(TypeError, match="not a JSON value"):
        prepared.arguments({ROWS: as_parameter([(object(),)])})


@DIALECTS
def test_an_enumeration_is_kept_as_its_text(dialect: sa.Dialect) -> None:
    column = sa.column("status", Choice(Status))
    prepared = prepare(sa.select(column), dialect, None)
    assert prepared.read([("suspended",), (None,)]) == [(Status.SUSPENDED,), (None,)]


documents = table("documents", sa.Column("document", Json))


def test_rows_with_much_json_count_as_large() -> None:
    prepared = prepare(sa.select(documents.c.id, documents.c.document), SQLITE, None)

    assert prepared.is_large([(1, "x" * LARGE), (2, "y"), (3, None)])
    assert not prepared.is_large([(1, "x" * (LARGE - 1)), (2, "y"), (3, None)])
    assert not prepared.is_large([])


@pytest.mark.parametrize("size", [1, LARGE], ids=["small", "large"])
def test_large_rows_get_their_values_on_the_drivers_thread(size: int) -> None:
    prepared = prepare(sa.select(documents.c.document), SQLITE, None)
    document = json.dumps({"a": "x" * size})
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE documents (document JSON)")
        connection.execute("INSERT INTO documents VALUES (?)", (document,))
        rows, are_values = fetch_rows(prepared, [], connection)

    assert rows == [({"a": "x" * size},)] if are_values else [(document,)]
    assert are_values is (size == LARGE)


def test_a_bare_number_is_read_as_json() -> None:
    """SQLite returns it as a number."""
    prepared = prepare(sa.select(documents.c.document), SQLITE, None)
    assert prepared.read([(5,), ("[5]",), ("{}",), (None,)]) == [(5,), ([5],), ({},), (None,)]


def test_columns_of_nulls_are_read_as_nulls() -> None:
    prepared = prepare(sa.select(documents.c.id, documents.c.document), SQLITE, None)
    assert prepared.read([(1, None), (2, None)]) == [(1, None), (2, None)]

"""An executor refuses loudly what it cannot run as SQLAlchemy would, and names the way to go."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from domain.users import Status
from repositories.engines.database import Database
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.postgres.executors import DIALECT as POSTGRES
from repositories.engines.schema import BigId, Choice, Instant, Json, Key
from repositories.engines.sqlite.executors import DIALECT as SQLITE
from repositories.engines.statements import Unsupported, prepare

DIALECTS: Final = pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=["sqlite", "postgres"])


class Colour(Enum):
    RED = "red"


def table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), sa.Column("id", BigId, primary_key=True), *columns)


defaults = table("defaults", sa.Column("a", sa.Text, default="x"), sa.Column("b", sa.Text))
computed = table("computed", sa.Column("a", sa.Text, default=lambda: "x"), sa.Column("b", sa.Text))
updated = table("updated", sa.Column("a", sa.Text, onupdate="x"), sa.Column("b", sa.Text))
typed = table(
    "typed",
    sa.Column("numeric", sa.Numeric),
    sa.Column("float", sa.Float),
    sa.Column("jsonb", JSONB),
    sa.Column("enum", sa.Enum(Colour, native_enum=False)),
    sa.Column("interval", sa.Interval),
    sa.Column("date", sa.Date),
    sa.Column("uuid", sa.Uuid),
)

REFUSED: Final[dict[str, tuple[Callable[[], sa.Executable], dict[str, Any]]]] = {
    "a default": (lambda: sa.insert(defaults), {"b": "y"}),
    "a computed default": (lambda: sa.insert(computed), {"b": "y"}),
    "onupdate": (lambda: sa.update(updated).where(updated.c.id == sa.bindparam("its_id")), {"b": "y", "its_id": 1}),
    "IN": (lambda: sa.select(defaults.c.id).where(defaults.c.id.in_([1, 2])), {}),
    "IN with a parameter": (
        lambda: sa.select(defaults.c.id).where(defaults.c.id.in_(sa.bindparam("ids", expanding=True))),
        {},
    ),
    "a literal that is executed": (
        lambda: sa.select(defaults.c.id).where(defaults.c.id == sa.bindparam("id", literal_execute=True)),
        {},
    ),
}

WAYS: Final = {
    "a default": r"^defaults\.a: .*`default`.* Set it by a parameter, or use the unit's session\.$",
    "a computed default": r"^computed\.a: .*`default`.* Set it by a parameter, or use the unit's session\.$",
    "onupdate": r"^updated\.a: .*`onupdate`.* Set it by a parameter, or use the unit's session\.$",
    "IN": r"^id_1: .* Pass a JSON array to a subquery, or use the unit's session\.$",
    "IN with a parameter": r"^ids: .* Pass a JSON array to a subquery, or use the unit's session\.$",
    "a literal that is executed": r"^id: .*, or use the unit's session\.$",
}
"""What is refused, and what to do instead."""


@DIALECTS
@pytest.mark.parametrize("refused", REFUSED)
def test_what_needs_more_than_compiled_text_is_refused(dialect: sa.Dialect, refused: str) -> None:
    statement, parameters = REFUSED[refused]
    with pytest.raises(Unsupported, match=WAYS[refused]):
        prepare(statement(), dialect, parameters)


@DIALECTS
@pytest.mark.parametrize("column", [each for each in typed.columns if each.name != "id"], ids=lambda each: each.name)
@pytest.mark.parametrize("use", ["read", "written", "compared"])
def test_a_type_that_the_drivers_do_not_treat_alike_is_refused(
    dialect: sa.Dialect, column: sa.Column[Any], use: str
) -> None:
    statements: dict[str, tuple[sa.Executable, dict[str, Any]]] = {
        "read": (sa.select(column), {}),
        "written": (sa.insert(typed), {column.name: None}),
        "compared": (sa.select(typed.c.id).where(column == sa.bindparam("it", type_=column.type)), {}),
    }
    statement, parameters = statements[use]
    where = "it" if use == "compared" else column.name
    way = (
        rf"{where} is of the type {type(column.type).__name__}, .*`repositories.engines.schema`, or the unit's session"
    )
    with pytest.raises(Unsupported, match=way):
        prepare(statement, dialect, parameters)


@DIALECTS
def test_a_value_for_every_column_with_a_default_is_taken(dialect: sa.Dialect) -> None:
    """The twin of the refusals: the same tables, and nothing left to Python."""
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


async def written(database: Database, values: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows as they come back, in a transaction that is undone."""
    types = {"sqlite": ("INTEGER", "TEXT", "TEXT"), "postgres": ("BIGINT", "TIMESTAMPTZ", "JSON")}
    number, time, document = types["postgres" if database.locks_rows else "sqlite"]
    create = f'CREATE TABLE json_rows (number {number}, "text" TEXT, "key" TEXT, time {time}, document {document})'
    async with database.transaction() as executor:
        await executor.fetch(sa.text(create))
        await executor.fetch(WRITE, {ROWS: as_parameter(values)})
        return [tuple(row) for row in await executor.fetch(READ)]


TEXTS: Final = ["", " ", "'", '"', "\\", "a\nb", "%_", "null", "1", "ß😀\uffff", "[1]", '{"a": 1}', "\u2028"]
DOCUMENTS: Final = [{"a": 1}, {"a": [1, 1.0, True, None, "ß"]}, {"b": {"'": '"\\'}}, {"n": 2**53 - 1}, {"f": 0.1}, {}]


async def test_many_rows_come_back_as_they_went_in(database: Database) -> None:
    values: list[tuple[Any, ...]] = [(number, text, text, NOON, None) for number, text in enumerate(TEXTS)]
    values += [(100 + number, None, None, None, document) for number, document in enumerate(DOCUMENTS)]
    values += [
        (2**53 - 1, "largest", None, NOON.replace(microsecond=0), None),
        (-(2**53) + 1, "least", None, None, None),
    ]

    assert await written(database, values) == sorted(values)
    kept = [row[4] for row in await written(database, values) if row[4]]
    assert list(map(repr, kept)) == [repr(document) for document in DOCUMENTS if document]


async def test_rows_are_taken_in_their_order(database: Database) -> None:
    """Changes are numbered in it. The rows are neither sorted nor numbered themselves."""
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


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match="not a JSON value"):
        as_parameter([(object(),)])


@DIALECTS
def test_an_enumeration_is_kept_as_its_text(dialect: sa.Dialect) -> None:
    column = sa.column("status", Choice(Status))
    prepared = prepare(sa.select(column), dialect, None)
    assert prepared.read([("suspended",), (None,)]) == [(Status.SUSPENDED,), (None,)]

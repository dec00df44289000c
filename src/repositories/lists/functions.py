"""SQL functions for filters that the two databases write differently: on texts, and on members of JSON fields."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")


class NumberAsText(sa.TypeDecorator[float]):
    """A number as JSON, so that the database parses it in the same way as stored numbers."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> str:  # noqa: ARG002
        return json.dumps(value)


class IndexOf(FunctionElement[int]):
    """The position of a text in another text, from 1; 0 if it is not there."""

    type = sa.Integer()
    inherit_cache = True


class Number(FunctionElement[Decimal]):
    """Converts the JSON text of a number to a number."""

    type = sa.Numeric()
    inherit_cache = True


class AtPath(FunctionElement[T]):
    """A function of the value at a path in a document."""

    inherit_cache = True

    def __init__(self, document: sa.ColumnElement[Any], *path: str) -> None:
        super().__init__(document, *steps(path))


class Items(AtPath[Any]):
    """A table of the items of the array at a path, or of the single value at the path.

    Its columns are `text`, `number` and `truth`. At most one of them is not null.
    """

    inherit_cache = True


class Elements(AtPath[Any]):
    """A table of the objects in the array at a path, or of the single object at the path.

    Its only column is `item`.
    """

    inherit_cache = True


class Member(AtPath[str]):
    """The string at a path; null if there is none."""

    type = sa.Text()
    inherit_cache = True


class Chosen(AtPath[str]):
    """The string at a path through an array: in the object that is `primary`, or otherwise in the first object.

    Null if there is none. The array, or a single object in its place, is before the last step of the path.
    """

    type = sa.Text()
    inherit_cache = True


class HasMember(AtPath[bool]):
    """Whether the value at a path is present: not null and not an empty string, array or object."""

    type = sa.Boolean()
    inherit_cache = True


def steps(path: tuple[str, ...]) -> Iterator[sa.ColumnElement[str]]:
    return (sa.literal(step, sa.Text()) for step in path)


def operands(element: FunctionElement[Any], compiler: SQLCompiler) -> list[str]:
    return [compiler.process(clause) for clause in element.clauses]


@compiles(IndexOf, "sqlite")
def index_of_on_sqlite(element: IndexOf, compiler: SQLCompiler, **_: object) -> str:
    text, part = operands(element, compiler)
    return f"instr({text}, {part})"


@compiles(IndexOf, "postgresql")
def index_of_on_postgres(element: IndexOf, compiler: SQLCompiler, **_: object) -> str:
    text, part = operands(element, compiler)
    return f"strpos({text}, {part})"


@compiles(Number, "sqlite")
def number_on_sqlite(element: Number, compiler: SQLCompiler, **_: object) -> str:
    (text,) = operands(element, compiler)
    return f"json_extract({text}, '$')"


@compiles(Number, "postgresql")
def number_on_postgres(element: Number, compiler: SQLCompiler, **_: object) -> str:
    (text,) = operands(element, compiler)
    return f"CAST({text} AS numeric)"


def on_sqlite(element: FunctionElement[Any], compiler: SQLCompiler) -> tuple[str, str]:
    """The document and the path for SQLite. The grammar of filters does not allow quotes in a step."""
    document, *path = operands(element, compiler)
    return document, in_steps(path)


def in_steps(path: Sequence[str]) -> str:
    return "'$'" + "".join(f" || '.\"' || {step} || '\"'" for step in path)


def as_array(document: str, path: str) -> str:
    """The array at a path on SQLite. A single value becomes an array of one."""
    value = f"{document} -> ({path})"
    return f"CASE json_type({document}, {path}) WHEN 'array' THEN {value} ELSE json_array({value}) END"


def on_postgres(element: FunctionElement[Any], compiler: SQLCompiler) -> str:
    """The value at the path for PostgreSQL. It uses `->` with text for each step, because `#>` would treat a number as
    an index of an array."""
    document, *path = operands(element, compiler)
    return f"CAST({document} AS jsonb)" + "".join(f" -> {step}" for step in path)


@compiles(Items, "sqlite")
def items_on_sqlite(element: Items, compiler: SQLCompiler, **_: object) -> str:
    document, path = on_sqlite(element, compiler)
    return f"""(
        SELECT
            CASE WHEN type = 'text' THEN value END AS text,
            CASE WHEN type IN ('integer', 'real') THEN value END AS number,
            CASE WHEN type IN ('true', 'false') THEN value END AS truth
        FROM json_each({document}, {path})
        WHERE json_type({document}, {path}) <> 'object'
    )"""  # noqa: S608  # of compiled parts


@compiles(Items, "postgresql")
def items_on_postgres(element: Items, compiler: SQLCompiler, **_: object) -> str:
    value = on_postgres(element, compiler)
    return f"""(
        SELECT
            CASE jsonb_typeof(found.value) WHEN 'string' THEN found.value #>> '{{}}' END COLLATE "C" AS text,
            CASE jsonb_typeof(found.value) WHEN 'number' THEN CAST(found.value #>> '{{}}' AS numeric) END AS number,
            CASE jsonb_typeof(found.value) WHEN 'boolean' THEN CAST(found.value #>> '{{}}' AS boolean) END AS truth
        FROM jsonb_array_elements(CAST('[]' AS jsonb) || ({value})) AS found(value)
    )"""  # noqa: S608  # of compiled parts


@compiles(Elements, "sqlite")
def elements_on_sqlite(element: Elements, compiler: SQLCompiler, **_: object) -> str:
    document, path = on_sqlite(element, compiler)
    array = as_array(document, path)
    return f"(SELECT value AS item FROM json_each({array}) WHERE type = 'object')"  # noqa: S608  # of compiled parts


@compiles(Elements, "postgresql")
def elements_on_postgres(element: Elements, compiler: SQLCompiler, **_: object) -> str:
    value = on_postgres(element, compiler)
    return f"""(
        SELECT found.value AS item FROM jsonb_array_elements(CAST('[]' AS jsonb) || ({value})) AS found(value)
        WHERE jsonb_typeof(found.value) = 'object'
    )"""  # noqa: S608  # of compiled parts


@compiles(Member, "sqlite")
def member_on_sqlite(element: Member, compiler: SQLCompiler, **_: object) -> str:
    document, path = on_sqlite(element, compiler)
    return f"(CASE json_type({document}, {path}) WHEN 'text' THEN {document} ->> ({path}) END)"


@compiles(Member, "postgresql")
def member_on_postgres(element: Member, compiler: SQLCompiler, **_: object) -> str:
    value = on_postgres(element, compiler)
    return f"(CASE jsonb_typeof({value}) WHEN 'string' THEN ({value}) #>> '{{}}' END COLLATE \"C\")"


@compiles(Chosen, "sqlite")
def chosen_on_sqlite(element: Chosen, compiler: SQLCompiler, **_: object) -> str:
    document, *path, last = operands(element, compiler)
    within, member = in_steps(path), in_steps([last])
    return f"""(
        SELECT CASE json_type(value, {member}) WHEN 'text' THEN value ->> ({member}) END
        FROM json_each({as_array(document, within)}) WHERE type = 'object'
        ORDER BY coalesce(json_type(value, '$.primary'), '') = 'true' DESC, key LIMIT 1
    )"""  # noqa: S608  # of compiled parts


@compiles(Chosen, "postgresql")
def chosen_on_postgres(element: Chosen, compiler: SQLCompiler, **_: object) -> str:
    document, *path, last = operands(element, compiler)
    value = f"CAST({document} AS jsonb)" + "".join(f" -> {step}" for step in path)
    return f"""(
        SELECT CASE jsonb_typeof(found.value -> {last}) WHEN 'string' THEN found.value ->> {last} END COLLATE "C"
        FROM jsonb_array_elements(CAST('[]' AS jsonb) || ({value})) WITH ORDINALITY AS found(value, at)
        WHERE jsonb_typeof(found.value) = 'object'
        ORDER BY coalesce(found.value -> 'primary' = CAST('true' AS jsonb), false) DESC, found.at LIMIT 1
    )"""  # noqa: S608  # of compiled parts


@compiles(HasMember, "sqlite")
def has_member_on_sqlite(element: HasMember, compiler: SQLCompiler, **_: object) -> str:
    document, path = on_sqlite(element, compiler)
    return f"(({document} -> ({path})) NOT IN ('null', '\"\"', '[]', '{{}}'))"


@compiles(HasMember, "postgresql")
def has_member_on_postgres(element: HasMember, compiler: SQLCompiler, **_: object) -> str:
    value = on_postgres(element, compiler)
    return f"""(({value}) NOT IN (
        CAST('null' AS jsonb), CAST('""' AS jsonb), CAST('[]' AS jsonb), CAST('{{}}' AS jsonb)
    ))"""

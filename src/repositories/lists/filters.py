"""Filters in SQL, for both databases. `domain.lists.filters` defines their meaning.

A term about a field compares its column, so that an index can be used. A term about a member of a JSON field searches a
small table of its items. This table has a column for each type, which is null for values of other types, so that no
cast can fail.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import sqlalchemy as sa

from domain.lists.fields import Field
from domain.lists.filters import (
    ITEM,
    And,
    Comparison,
    Filter,
    Not,
    Nothing,
    Operator,
    Or,
    Present,
    Some,
    Value,
    type_of,
)
from repositories.lists.functions import Elements, HasMember, IndexOf, Items, Number, NumberAsText

Columns = Mapping[str, sa.ColumnElement[Any]]
"""For each field, by name, the column that has its key, as `Field.key_in` defines it."""

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True, eq=False)
class Related:
    """The related entities of a field of ids: rows of another table.

    `keys` are the columns that filters may compare, at least the id. `owners` selects the ids of the entities that have
    these related entities.
    """

    keys: Columns
    owners: sa.Select[Any]


Relationships = Mapping[str, Related]

NONE_RELATED: Final[Relationships] = {}

Text = sa.ColumnElement[str]


def condition(filter: Filter, columns: Columns, related: Relationships, shown: Condition) -> Condition:
    """The condition for the `shown` rows of a filter. Its parameters come from `parameters_of`, for any filter of the
    same shape.
    """
    return Conditions(columns, related, shown=shown).of(filter)


def parameters_of(filter: Filter | None) -> Mapping[str, object]:
    return {f"value_{number}": value for number, value in enumerate(values_in(filter))}


def values_in(filter: Filter | None) -> Iterator[Value]:
    """The values of all terms of a filter, from left to right."""
    match filter:
        case Comparison():
            yield filter.value
        case Not(part) | Some(part=part):
            yield from values_in(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from values_in(part)


@dataclass(frozen=True, slots=True)
class Shape:
    """A filter without its values. Two filters with the same shape can use the same statement."""

    text: str
    example: Filter = field(compare=False)

    @classmethod
    def of(cls, filter: Filter) -> "Shape":
        return cls(text_of(filter), filter)


def text_of(filter: Filter) -> str:
    match filter:
        case Not(part):
            return f"not ({text_of(part)})"
        case And(parts):
            return f"({' and '.join(map(text_of, parts))})"
        case Or(parts):
            return f"({' or '.join(map(text_of, parts))})"
        case Nothing():
            return "nothing"
        case term:
            return f"{'.'.join((term.field.name, *term.path))}{text_after(term)}"


def text_after(term: Comparison | Present | Some) -> str:
    """The text of a term after its name."""
    match term:
        case Comparison(operator=name, value=value):
            return f" {name} {type_of(value).__name__}"
        case Some(part=part):
            return f"[{text_of(part)}]"
    return " pr"


class Conditions:
    """Turns one filter into a condition, and numbers its values from left to right.

    Each alternative repeats that rows are `shown`: otherwise SQLite takes no index of shown rows for it, and reads all.
    """

    def __init__(
        self,
        columns: Columns,
        related: Relationships = NONE_RELATED,
        numbers: Iterator[int] | None = None,
        *,
        shown: Condition | None = None,
    ) -> None:
        self._columns = columns
        self._related = related
        self._numbers = numbers or count()
        self._shown = sa.true() if shown is None else shown

    def of(self, filter: Filter) -> Condition:
        match filter:
            case And(parts):
                return sa.and_(*[self.of(part) for part in parts])
            case Or(parts):
                return sa.or_(*[sa.and_(self._shown, self.of(part)) for part in parts])
            case Not(part):
                return sa.not_(sa.func.coalesce(self.of(part), sa.false()))  # "unknown" in SQL counts as false
            case Nothing():
                return sa.false()
            case term:
                return self._term(term)

    def _term(self, term: Comparison | Present | Some) -> Condition:
        match term:
            case Some(field, path, part):
                if related := self._related.get(field.name):
                    return self._one_of(related, part)
                return self._some(self._columns[field.name], path, part)
            case Comparison(field, name, value, path):
                return self._comparison(field, name, value, path)
        return self._present(term.field, term.path)

    def _one_of(self, related: Related, part: Filter) -> Condition:
        matches = Conditions(related.keys, numbers=self._numbers).of(part)
        return self._columns["id"].in_(related.owners.where(matches))

    def _some(self, document: sa.ColumnElement[Any], path: tuple[str, ...], part: Filter) -> Condition:
        elements = Elements(document, *path).table_valued(sa.column("item", document.type))
        matches = Conditions({ITEM.name: elements.c.item}, numbers=self._numbers).of(part)
        return sa.select(sa.literal_column("1")).select_from(elements).where(matches).exists()

    def _present(self, field: Field, path: tuple[str, ...]) -> Condition:
        if related := self._related.get(field.name):
            return self._columns["id"].in_(related.owners)
        column = self._columns[field.name]
        return HasMember(column, *path) if field.is_json else column.is_not(None)

    def _comparison(self, field: Field, name: Operator, value: Value, path: tuple[str, ...]) -> Condition:
        parameter = f"value_{next(self._numbers)}"
        if related := self._related.get(field.name):
            compared = COMPARES[name](related.keys["id"], sa.bindparam(parameter, type_=sa.BigInteger()))
            return self._columns["id"].in_(related.owners.where(compared))
        column = self._columns[field.name]
        if field.is_json:
            return member_compares(column, path, name, type_of(value), parameter)
        return COMPARES[name](column, sa.bindparam(parameter, type_=column.type))


# LIKE is not used. It has wildcards. On SQLite it ignores the case of ASCII letters, and fails above 50,000 bytes.


def contains(text: Text, part: Text) -> Condition:
    return IndexOf(text, part) > 0


def starts_with(text: Text, part: Text) -> Condition:
    return sa.func.substr(text, 1, sa.func.length(part)) == part


def ends_with(text: Text, part: Text) -> Condition:
    return sa.func.substr(text, sa.func.length(text) - sa.func.length(part) + 1) == part


COMPARES: Final[Mapping[Operator, Callable[[Any, Any], Condition]]] = {
    Operator.EQ: operator.eq,
    Operator.CO: contains,
    Operator.SW: starts_with,
    Operator.EW: ends_with,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
}


def member_compares(
    document: sa.ColumnElement[Any], path: tuple[str, ...], name: Operator, kind: type, parameter: str
) -> Condition:
    items = Items(document, *path).table_valued(
        sa.column("text", sa.Text), sa.column("number", sa.Numeric), sa.column("truth", sa.Boolean)
    )
    if kind is str:
        compared = COMPARES[name](items.c.text, sa.bindparam(parameter, type_=sa.Text()))
    elif kind is bool:
        compared = COMPARES[name](items.c.truth, sa.bindparam(parameter, type_=sa.Boolean()))
    else:
        compared = COMPARES[name](items.c.number, Number(sa.bindparam(parameter, type_=NumberAsText())))
    return sa.select(sa.literal_column("1")).select_from(items).where(compared).exists()

"""The filter language of lists: that of SCIM (RFC 7644, section 3.4.2.2), as a small tree.

What a filter means, in memory and in every database:

- A term is true or false, never unknown. A comparison with a missing value is false, and its `not` is true. `ne` is
  `not` of `eq`, so it is true for a missing value.
- `pr` is true for a value that is present: not missing, not null, not an empty string, array or object.
  `eq null` is `not` of `pr`, `ne null` is `pr`.
- Fields compare as they are declared: by folded form, exactly, as integers, or as instants. The literal has to be
  of the field's type. Folding trims the literal too, so `name co " "` is true for every name.
- Members of a JSON field are named by a path of letters, digits, `_` and `-`, exact in case: `attributes.a.b`. A member
  matches if its value has the type of the literal (string, number or boolean) and the comparison is true. An array
  matches if one of its items does. A path cannot lead through arrays, and an object never matches.
- `attributes.phones[type eq "work" and value sw "+49"]` matches if one object matches: an element of the array at this
  path, or the object at this path. The names in brackets are members of that object.
- A field of ids (`groups` of users, `members` of groups) matches if one of the ids does. `Some` on such a field matches
  if one of those entities matches by its own fields.
- Strings in JSON compare exactly, in folded JSON by their folded form. Strings are ordered by code point. Numbers are
  ordered by value, so 1 and 1.0 are equal. Booleans are not ordered. Integers beyond 2^53 - 1 cannot be written.
  (SQLite reads decimals with an error in the last bit, so two neighbouring doubles may be equal there.)

`domain.lists.grammar` parses the text of a filter.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from domain.errors import Malformed
from domain.lists.fields import Field, Key, Kind, Path, member_at
from domain.values import JsonValue, flaw_in, fold, instant


class Operator(StrEnum):
    EQ = "eq"
    CO = "co"
    SW = "sw"
    EW = "ew"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"


Value: TypeAlias = Key | float | bool
"""The literal of a term: a value in the form of a field's key, or a JSON scalar."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison with a literal. The `path` leads to a member of a JSON field. Other fields have no path."""

    field: Field
    operator: Operator
    value: Value
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    field: Field
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    part: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the objects at a path matches `part`, whose terms are about `ITEM`.

    For a field of ids: one of the related entities matches `part`, whose terms are about the fields of that entity.
    """

    field: Field
    path: tuple[str, ...]
    part: "Filter"


@dataclass(frozen=True, slots=True)
class Nothing:
    """A term about a name that does not exist, in a protocol that does not refuse such names. It matches nothing.

    A `not` around it matches nothing either, so a typing error never finds all entities.
    """


Filter: TypeAlias = Comparison | Present | Not | And | Or | Some | Nothing

ITEM: Final = Field("item", Kind.JSON)
"""Stands for the element that the terms in brackets are about."""


@dataclass(frozen=True, slots=True)
class Element:
    item: JsonValue


COMPARES: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: operator.eq,
    Operator.CO: operator.contains,
    Operator.SW: str.startswith,
    Operator.EW: str.endswith,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
}


def matches(filter: Filter | None, entity: object) -> bool:
    """Whether the filter matches the entity. None matches every entity."""
    match filter:
        case None:
            return True
        case Not(part):
            return not matches(part, entity)
        case And(parts):
            return all(matches(part, entity) for part in parts)
        case Or(parts):
            return any(matches(part, entity) for part in parts)
        case Nothing():
            return False
        case term:
            return holds(term, entity)


def holds(term: Comparison | Present | Some, entity: object) -> bool:
    """Whether a term is true for the entity."""
    value = found(term.field, term.path, entity)
    match term:
        case Some(field, part=part):
            elements = getattr(entity, field.name) if field.kind is Kind.IDS else elements_in(value)
            return any(matches(part, each) for each in elements)
        case Comparison(operator=name, value=literal):
            return any(
                type_of(each) is type_of(literal) and COMPARES[name](each, literal) for each in candidates(value)
            )
    return value not in (None, "", [], {})


def found(field: Field, path: Path, entity: object) -> Any:
    """The value that a term compares; None if it is missing."""
    return member_at(field.key_in(entity), path) if path else field.key_in(entity)


def elements_in(value: JsonValue) -> Iterable[Element]:
    return (Element(each) for each in candidates(value) if isinstance(each, Mapping))


def candidates(value: JsonValue) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


def type_of(value: object) -> type:
    """The type in which a value is compared. Integers and fractions have the same type, booleans and numbers do not."""
    for kind in (bool, str, datetime):
        if isinstance(value, kind):
            return kind
    return float if isinstance(value, int | float) else type(value)


def equal(field: Field, value: str | int) -> Filter:
    """The filter `field eq "value"`, for parameters such as `email=`. Raises `Malformed`."""
    if isinstance(value, str) and (flaw := flaw_in(value)):
        raise Malformed(flaw)
    return Comparison(field, Operator.EQ, fitting(field, value))


def every(filters: Iterable[Filter | None]) -> Filter | None:
    """The filter that matches if all of them do; None if there is none."""
    given = tuple(filter for filter in filters if filter is not None)
    return And(given) if len(given) > 1 else next(iter(given), None)


def negated(filter: Filter) -> Filter:
    """The `not` of a filter."""
    if asks_for_nothing(filter):
        return Nothing()
    return filter.part if isinstance(filter, Not) else Not(filter)


def asks_for_nothing(filter: Filter) -> bool:
    """Whether one of its terms is `Nothing`."""
    match filter:
        case Nothing():
            return True
        case Not(part) | Some(part=part):
            return asks_for_nothing(part)
        case And(parts) | Or(parts):
            return any(map(asks_for_nothing, parts))
    return False


def fitting(field: Field, literal: object, at: int | None = None) -> Value:
    """The literal in the form in which the field is compared. Raises `Malformed` at the position `at` if its type is
    wrong."""
    expected, read = LITERALS[field.kind]
    if (value := read(literal)) is None:
        raise Malformed(f"Expected {expected}.", at)
    return value


def text(literal: object) -> str | None:
    return literal if isinstance(literal, str) else None


def folded(literal: object) -> str | None:
    return fold(literal) if isinstance(literal, str) else None


def integer(literal: object) -> int | None:
    return literal if isinstance(literal, int) and not isinstance(literal, bool) else None


def time(literal: object) -> datetime | None:
    return instant(literal) if isinstance(literal, str) else None


def scalar(literal: object) -> str | float | bool | None:
    return literal if isinstance(literal, str | int | float) else None


def folded_scalar(literal: object) -> str | float | bool | None:
    return fold(literal) if isinstance(literal, str) else scalar(literal)


LITERALS: Final[Mapping[Kind, tuple[str, Callable[[object], Value | None]]]] = {
    Kind.FOLDED: ("a string", folded),
    Kind.EXACT: ("a string", text),
    Kind.INTEGER: ("an integer", integer),
    Kind.INSTANT: ("a date and time with its offset in a string, as in RFC 3339", time),
    Kind.IDS: ("an integer", integer),
    Kind.JSON: ("a string, a number, true or false", scalar),
    Kind.FOLDED_JSON: ("a string, a number, true or false", folded_scalar),
}
"""For each kind of field: a description of its literals, and a function that converts a literal or returns None."""

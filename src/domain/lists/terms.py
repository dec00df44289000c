"""Filters on the fields of an entity: the meaning of names, operators and literals.

Everything here raises `Malformed` with the position of the error.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.errors import Malformed
from domain.lists.fields import Field, Fields, Kind, Path
from domain.lists.filters import ITEM, Comparison, Filter, Not, Operator, Present, Some, Value, fitting
from domain.lists.grammar import Names, Term, Token, parse_by
from domain.values import MAX_INTEGER, flaw_in

MAX_STEPS: Final = 8
"""The most names in a path. Attributes cannot nest deeper."""


def parse_filter(text: str, fields: Fields) -> Filter:
    """Parse a filter on the fields of an entity. Raises `Malformed` with the position of the error."""
    return parse_by(text, FieldNames(fields))


class FieldNames:
    """The names of an entity's fields. A JSON field is followed by the path to one of its members."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def term(self, name: Token) -> Term:
        if field := self._fields.get(name.text.lower()):
            return FieldTerm(whole_field(field, name))
        first, *path = name.text.split(".")
        field = self._fields.get(first.lower())
        if field is None or not field.is_json:
            raise Malformed(f"There is no such field to filter by. Fields are {', '.join(self._fields)}.", name.at)
        return FieldTerm(field, path_of(path, name))


class ItemNames:
    """The names of the members of an array's element."""

    def term(self, name: Token) -> Term:
        return FieldTerm(ITEM, path_of(name.text.split("."), name))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """A field, or the member of a JSON field at a path."""

    field: Field
    path: Path = ()

    def present(self) -> Filter:
        return Present(self.field, self.path)

    def compared(self, comparing: Token, literal: Token) -> Filter:
        name = operator_of(comparing, self.field)
        given = literal_of(literal)
        if given is None and name is Operator.EQ:
            return Not(self.present())
        value = fitting(self.field, given, literal.at)
        if name not in operators_of(value):
            raise Malformed("This operator does not compare such a value.", comparing.at)
        return Comparison(self.field, name, value, self.path)

    def names_within(self, opening: Token) -> Names:
        if not self.field.is_json:
            raise Malformed("This field has no elements.", opening.at)
        return ItemNames()

    def some(self, part: Filter) -> Filter:
        return Some(self.field, self.path, part)


def path_of(steps: Sequence[str], token: Token) -> Path:
    if len(steps) > MAX_STEPS:
        raise Malformed(f"A path holds at most {MAX_STEPS} names after the field's.", token.at)
    return tuple(steps)


def whole_field(field: Field, token: Token) -> Field:
    if field.is_json:
        raise Malformed(f"Name a member of this field, such as {field.name}.department.", token.at)
    return field


OPERATORS: Final = frozenset(Operator)
ORDERED: Final = OPERATORS - {Operator.CO, Operator.SW, Operator.EW}


def operator_of(token: Token, field: Field) -> Operator:
    name = token.text.lower()
    if token.kind != "word" or name not in OPERATORS:
        raise Malformed(f"Expected an operator: ne, pr, {', '.join(Operator)}.", token.at)
    if field.kind in {Kind.INTEGER, Kind.INSTANT, Kind.IDS} and name not in ORDERED:
        raise Malformed("This operator is for text only.", token.at)
    return Operator(name)


def operators_of(value: Value) -> frozenset[Operator]:
    if isinstance(value, bool):
        return frozenset({Operator.EQ})
    return OPERATORS if isinstance(value, str) else ORDERED


NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
CONSTANTS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}


def literal_of(token: Token) -> bool | int | float | str | None:
    if token.kind == "string":
        return string_of(token)
    if token.kind == "word" and token.text in CONSTANTS:
        return CONSTANTS[token.text]
    if token.kind == "word" and NUMBER.fullmatch(token.text):
        return number_of(token)
    raise Malformed("Expected a JSON value: a string in double quotes, a number, true, false or null.", token.at)


def string_of(token: Token) -> str:
    text: str = json.loads(token.text)
    if flaw := flaw_in(text):
        raise Malformed(f"A string: {flaw}", token.at)
    return text


def number_of(token: Token) -> int | float:
    number: int | float = json.loads(token.text)
    if isinstance(number, int) and abs(number) > MAX_INTEGER:
        raise Malformed(f"Integers run from -{MAX_INTEGER} to {MAX_INTEGER}.", token.at)
    if not math.isfinite(number):
        raise Malformed("This number is too large.", token.at)
    return number

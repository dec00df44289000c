"""The fields of an entity, as filters and sorts see them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from domain.values import Attributes, Text, fold

Key: TypeAlias = str | int | datetime
"""The form in which a field's value is compared. Text compares by code point, times as instants in UTC."""


class Kind(StrEnum):
    FOLDED = "folded"
    """Text that is compared by its folded form (see `fold`)."""

    EXACT = "exact"
    INTEGER = "integer"
    INSTANT = "instant"
    JSON = "json"
    """An object of the client's own, whose members are named by a path."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `optional`: its value may be None. `sorts`: lists can be sorted by it."""

    name: str
    kind: Kind
    optional: bool = False
    sorts: bool = True

    def key_in(self, entity: object) -> Key | None:
        """The value by which the entity compares. Not for JSON fields, whose members have keys of their own."""
        value: Any = getattr(entity, self.name)
        if value is None:
            return None
        return self.form(value)

    def form(self, value: Any) -> Key:
        """The form in which a value is compared."""
        return fold(value) if self.kind is Kind.FOLDED else value


Fields: TypeAlias = Mapping[str, Field]
"""Fields by the names that clients use, in lower case."""


def declare(*fields: Field) -> Fields:
    return {field.name: field for field in fields}


ID = Field("id", Kind.INTEGER)


def fields_of(entity: type, *, without: Collection[str] = (), unsorted: Collection[str] = ()) -> Fields:
    """The fields of an entity as its annotations declare them, but for some. JSON fields do not sort."""
    shown = [each for each in fields(entity) if each.name not in without]
    return declare(*(field_of(each.name, each.type, each.name not in unsorted) for each in shown))


def field_of(name: str, hint: Any, sorts: bool) -> Field:
    type_, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    options = get_args(type_) if isinstance(type_, UnionType) else (type_,)
    plain = next(each for each in options if each is not NoneType)
    kind = kind_of(plain, rules)
    return Field(name, kind, optional=NoneType in options, sorts=sorts and kind is not Kind.JSON)


def kind_of(plain: Any, rules: Collection[object]) -> Kind:
    for rule in rules:
        if isinstance(rule, Text):
            return Kind.FOLDED if rule.folds else Kind.EXACT
        if isinstance(rule, Attributes):
            return Kind.JSON
    return {int: Kind.INTEGER, datetime: Kind.INSTANT}.get(plain, Kind.EXACT)

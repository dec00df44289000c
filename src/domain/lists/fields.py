"""The fields of an entity that lists filter and sort by."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from domain.values import Attributes, JsonValue, Text, fold

Path: TypeAlias = tuple[str, ...]
"""The names that lead to a member of a JSON document, the outermost first."""

Key: TypeAlias = str | int | datetime
"""The form in which a field's value is compared. Text compares by code point, times as instants in UTC."""


class Kind(StrEnum):
    FOLDED = "folded"
    """Text that is compared by its folded form (see `fold`)."""

    EXACT = "exact"
    INTEGER = "integer"
    INSTANT = "instant"
    JSON = "json"
    """A JSON object. A path names one of its members."""

    FOLDED_JSON = "folded_json"
    """The same, with strings that compare by their folded form."""

    IDS = "ids"
    """The ids of related entities. A comparison is true if it is true for one of them. The entity has no attribute for
    them.

    `Some` is true if one of those entities matches by its own fields.
    """


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `optional`: its value may be None. `sorts`: lists can be sorted by it.

    With a `path`, lists are sorted by the string at this path of the JSON field, which may be missing. If the path
    leads through an array of objects, the object that is `primary` is used, or otherwise the first one. `exact` are the
    paths in a folded JSON field whose strings are not folded.
    """

    name: str
    kind: Kind
    optional: bool = False
    sorts: bool = True
    path: Path = ()
    exact: frozenset[Path] = frozenset()

    @property
    def is_json(self) -> bool:
        return self.kind in {Kind.JSON, Kind.FOLDED_JSON}

    def key_in(self, entity: object) -> Any:
        """The value of the entity in the form in which it is compared: a `Key` or None, or for a JSON field the
        document."""
        value: Any = getattr(entity, self.name)
        if self.kind is Kind.IDS:
            return [each.id for each in value]
        if self.path:
            value = chosen_at(value, self.path)
            value = value if isinstance(value, str) else None
        return None if value is None else self.form(value)

    def form(self, value: Any) -> Any:
        """The form in which a value is compared."""
        if self.kind is Kind.FOLDED:
            return fold(value)
        return fold_members(value, self.exact) if self.kind is Kind.FOLDED_JSON else value


def member_at(document: JsonValue, path: Path) -> JsonValue:
    """The value at a path; None if there is none."""
    for step in path:
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def chosen_at(document: JsonValue, path: Path) -> JsonValue:
    """The same for a path through arrays. In each array the object that is `primary` is used, or otherwise the first
    one."""
    for step in path:
        if isinstance(document, list):
            objects = [each for each in document if isinstance(each, Mapping)]
            document = next((each for each in objects if each.get("primary") is True), next(iter(objects), None))
        document = member_at(document, (step,))
    return document


def fold_members(document: JsonValue, exact: frozenset[Path], at: Path = ()) -> JsonValue:
    """The document with its strings folded, except for those at the exact paths. Paths pass through arrays."""
    match document:
        case str():
            return document if at in exact else fold(document)
        case list() | tuple():
            return [fold_members(each, exact, at) for each in document]
        case Mapping():
            return {name: fold_members(each, exact, (*at, name)) for name, each in document.items()}
    return document


Fields: TypeAlias = Mapping[str, Field]
"""Fields by the names that clients use, in lower case."""


def declare(*fields: Field) -> Fields:
    return {field.name: field for field in fields}


ID = Field("id", Kind.INTEGER)


def fields_of(entity: type, *, without: Collection[str] = (), unsorted: Collection[str] = ()) -> Fields:
    """The fields that the annotations of an entity declare. Lists cannot be sorted by JSON fields."""
    shown = [each for each in fields(entity) if each.name not in without]
    return declare(*(field_of(each.name, each.type, each.name not in unsorted) for each in shown))


def field_of(name: str, hint: Any, sorts: bool) -> Field:
    type_, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    options = get_args(type_) if isinstance(type_, UnionType) else (type_,)
    plain = next(each for each in options if each is not NoneType)
    kind = kind_of(plain, rules)
    exact = frozenset(path for rule in rules if isinstance(rule, Attributes) for path in rule.exact)
    is_json = kind in {Kind.JSON, Kind.FOLDED_JSON}
    return Field(name, kind, optional=NoneType in options, sorts=sorts and not is_json, exact=exact)


def kind_of(plain: Any, rules: Collection[object]) -> Kind:
    for rule in rules:
        if isinstance(rule, Text):
            return Kind.FOLDED if rule.folds else Kind.EXACT
        if isinstance(rule, Attributes):
            return Kind.FOLDED_JSON if rule.folds else Kind.JSON
    return {int: Kind.INTEGER, datetime: Kind.INSTANT}.get(plain, Kind.EXACT)

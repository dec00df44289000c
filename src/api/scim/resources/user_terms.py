"""The attributes by which lists of users are filtered and sorted."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.scim.schemas.resources import COMMON, USER, USERS, Steps
from api.scim.syntax.filters import EVERY, Address, Column, Constant, Member, Relation, Unfiltered, Unknown
from api.scim.syntax.literals import id_of, same
from domain.groups import FIELDS as GROUP_FIELDS
from domain.lists.fields import ID, Field, Kind, Path
from domain.lists.filters import ITEM, And, Comparison, Filter, Not, Nothing, Operator, Or, Present, Some, Value
from domain.lists.grammar import Names, Term, Token
from domain.users import ALL_FIELDS, FIELDS, Status

RECORD: Final = ALL_FIELDS["scim"]

HAS_RECORD: Final = Present(RECORD, ("schemas",))

NO_RECORD: Final = Not(HAS_RECORD)


TAG: Final = re.compile(r'W/"([1-9][0-9]{0,15})"')


def version_of(tag: Value) -> Value | None:
    """The version in an entity tag."""
    found = TAG.fullmatch(str(tag))
    return int(found[1]) if found else None


def status_of(value: Value) -> Value:
    return Status.ACTIVE if value is True else Status.SUSPENDED


def column(name: str, field: str, **options: Any) -> Term:
    """The attribute with this name, which is stored in a field of the user."""
    steps = USERS.steps_to(name)
    assert steps is not None  # noqa: S101  # the names are from this module
    return Column(steps[-1], FIELDS[field], **{"convert": same, **options})


COLUMNS: Final[Mapping[Path, Term]] = {
    ("id",): column("id", "id", convert=id_of, only_equal=True),
    ("externalId",): column("externalId", "external_id"),
    ("active",): column("active", "status", convert=status_of),
    ("meta", "created"): column("meta.created", "created_at"),
    ("meta", "lastModified"): column("meta.lastModified", "updated_at"),
    ("meta", "location"): Address(COMMON["meta"].parts["location"], {"users": EVERY}),
    ("meta", "version"): column("meta.version", "version", convert=version_of, only_equal=True),
}

SORTED_BY: Final[Mapping[Path, Field]] = {
    ("id",): FIELDS["id"],
    ("userName",): FIELDS["username"],
    ("externalId",): FIELDS["external_id"],
    ("displayName",): FIELDS["name"],
    ("active",): FIELDS["status"],
    ("emails",): FIELDS["email"],
    ("emails", "value"): FIELDS["email"],
    ("meta", "created"): FIELDS["created_at"],
    ("meta", "lastModified"): FIELDS["updated_at"],
}


def field_of(steps: Steps) -> Field | None:
    """The field by which lists are sorted for an attribute: a field of the user, or a string in the record.

    If there are many values, the primary one is used, or otherwise the first one (RFC 7644, section 3.4.2.3).
    """
    path = tuple(each.name for each in steps)
    if path in SORTED_BY:
        return SORTED_BY[path]
    if steps[-1].multi and "value" in steps[-1].parts:
        steps = (*steps, steps[-1].parts["value"])
        path = (*path, "value")
    if (
        steps[-1].multi
        or any(each.mutability != "readWrite" for each in steps)
        or steps[-1].type in {"complex", "boolean"}
    ):
        return None
    return Field(RECORD.name, Kind.EXACT if steps[-1].exact else Kind.FOLDED, optional=True, path=path)


class UserNames(Names):
    """The attributes of users."""

    def term(self, name: Token) -> Term:
        steps = USERS.steps_to(name.text)
        if steps is None or steps[0].name == "password":
            return Unknown()
        return term_of(steps)


def term_of(steps: Steps) -> Term:
    path = tuple(each.name for each in steps)
    return COLUMNS[path] if path in COLUMNS else SPECIAL.get(path[0], member_of)(steps)


def member_of(steps: Steps) -> Term:
    """An attribute in the record."""
    first, *further = steps
    term: Term = Member(first, RECORD, (first.name,))
    for part in further:
        if not isinstance(term, Member):
            return Unknown()
        term = term.part(part)
    return term


class UserName(Column):
    """The `userName`. A user without a username has its id as `userName`, and is found by the whole id only."""

    def present(self) -> Filter:
        return Present(FIELDS["id"])

    def compared(self, comparing: Token, literal: Token) -> Filter:
        compared = super().compared(comparing, literal)
        if not isinstance(compared, Comparison) or compared.operator is not Operator.EQ:
            return compared
        id = id_of(compared.value)
        if id is None:
            return compared
        return Or((compared, And((Not(Present(self.field)), Comparison(FIELDS["id"], Operator.EQ, id)))))


class Schemas(Member):
    """The `schemas`. A user that SCIM never wrote has no record, and has the schema of users."""

    def present(self) -> Filter:
        return Present(FIELDS["id"])

    def compared(self, comparing: Token, literal: Token) -> Filter:
        without_record = Constant(self.attribute, USER).compared(comparing, literal)
        return Or((super().compared(comparing, literal), And((NO_RECORD, without_record))))


@dataclass(frozen=True)
class Mirrored(Member):
    """An attribute of the record. For users without a record its value comes from a field."""

    mirror: Field = field(kw_only=True)

    def present(self) -> Filter:
        return self._either(super().present())

    def compared(self, comparing: Token, literal: Token) -> Filter:
        if self.attribute.is_complex:
            return self.value(comparing).compared(comparing, literal)
        return self._either(super().compared(comparing, literal))

    def some(self, part: Filter) -> Filter:
        return self._either(super().some(part))

    def _either(self, filter: Filter) -> Filter:
        return Or((filter, And((NO_RECORD, mirrored(filter, self.mirror)))))


def display_name(steps: Steps) -> Term:
    return Mirrored(steps[0], RECORD, ("displayName",), mirror=FIELDS["name"])


def emails(steps: Steps) -> Term:
    whole = Mirrored(steps[0], RECORD, ("emails",), mirror=FIELDS["email"])
    return whole.part(steps[1]) if len(steps) > 1 else whole


def about_it(steps: Steps) -> Term:
    return Constant(steps[-1], USERS.name) if len(steps) > 1 else Unfiltered(steps[0])


OF_USER: Final = USERS.attributes["groups"]
IN_GROUPS: Final = Relation(
    OF_USER,
    (FIELDS["groups"],),
    {
        "value": Column(OF_USER.parts["value"], ID, id_of, only_equal=True),
        "$ref": Address(OF_USER.parts["$ref"], {"groups": EVERY}),
        "display": Column(OF_USER.parts["display"], GROUP_FIELDS["name"], same),
        "type": Constant(OF_USER.parts["type"], "direct"),
    },
)


def in_groups(steps: Steps) -> Term:
    return IN_GROUPS.part(steps[1].name.lower()) if len(steps) > 1 else IN_GROUPS


SPECIAL: Final[Mapping[str, Callable[[Steps], Term]]] = {
    "userName": lambda steps: UserName(steps[0], FIELDS["username"], same),
    "displayName": display_name,
    "emails": emails,
    "schemas": lambda steps: Schemas(steps[0], RECORD, ("schemas",)),
    "meta": about_it,
    "groups": in_groups,
}
"""Attributes that are neither completely in a column nor only in the record."""


def mirrored(filter: Filter, field: Field) -> Filter:
    """Translates a filter on an attribute of the record into a filter on the field, which has one primary value."""
    match filter:
        case Not(part):
            return Not(mirrored(part, field))
        case And(parts):
            return And(tuple(mirrored(each, field) for each in parts))
        case Or(parts):
            return Or(tuple(mirrored(each, field) for each in parts))
        case Some(part=part):
            return And((Present(field), mirrored(part, field)))
        case Nothing():
            return filter
        case term:
            return mirrored_term(term, field)


def mirrored_term(term: Comparison | Present, field: Field) -> Filter:
    is_value = term.field is not ITEM or term.path == ("value",)
    if isinstance(term, Comparison) and is_value:
        return Comparison(field, term.operator, term.value)
    is_there = is_value or (term.path == ("primary",) and (isinstance(term, Present) or term.value is True))
    return Present(field) if is_there else Not(Present(FIELDS["id"]))


NAMES: Final = UserNames()

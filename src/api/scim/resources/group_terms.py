"""What lists of groups are filtered and sorted by."""

from collections.abc import Mapping
from typing import Any, Final

from api.scim.filters import Column, Constant, Unfiltered, Unknown, id_of, same
from api.scim.resources.members import MEMBER
from api.scim.schemas.attributes import Attribute
from api.scim.schemas.resources import GROUPS, USERS, Steps
from domain.groups import FIELDS, MEMBERS
from domain.lists.fields import Field, Path
from domain.lists.filters import Filter, Present
from domain.lists.grammar import Names, Term, Token


def column(name: str, field: str, **options: Any) -> Term:
    steps = GROUPS.steps_to(name)
    assert steps is not None  # noqa: S101  # names of this module
    return Column(steps[-1], FIELDS[field], **{"convert": same, **options})


COLUMNS: Final[Mapping[Path, Term]] = {
    ("id",): column("id", "id", convert=id_of, only_equal=True),
    ("externalId",): column("externalId", "external_id"),
    ("displayName",): column("displayName", "name"),
    ("meta", "created"): column("meta.created", "created_at"),
}

SORTED_BY: Final[Mapping[Path, Field]] = {
    ("id",): FIELDS["id"],
    ("externalId",): FIELDS["external_id"],
    ("displayName",): FIELDS["name"],
    ("meta", "created"): FIELDS["created_at"],
}


def field_of(steps: Steps) -> Field | None:
    return SORTED_BY.get(tuple(each.name for each in steps))


class GroupNames(Names):
    """The attributes of groups."""

    def term(self, name: Token) -> Term:
        steps = GROUPS.steps_to(name.text)
        if steps is None:
            return Unknown()
        path = tuple(each.name for each in steps)
        if path in COLUMNS:
            return COLUMNS[path]
        if path in {("members",), ("members", "value")}:
            return Members(steps[-1].parts.get("value", steps[-1]))
        if path in {("meta", "resourceType"), ("schemas",)}:
            return Constant(steps[-1], GROUPS.name if len(path) > 1 else GROUPS.schema.id)
        return Unfiltered(steps[-1])


class Members(Column):
    """The users among the members, by their ids."""

    def __init__(self, value: Attribute) -> None:
        super().__init__(value, MEMBERS, id_of, only_equal=True)

    def present(self) -> Filter:
        return Present(MEMBERS)

    def names_within(self, opening: Token) -> Names:  # noqa: ARG002
        return MemberNames()


class MemberNames:
    def term(self, name: Token) -> Term:
        match name.text.lower():
            case "value":
                return Members(MEMBER.parts["value"])
            case "type":
                return Constant(MEMBER.parts["type"], USERS.name)
            case "$ref":
                return Unfiltered(MEMBER.parts["$ref"])
        return Unknown()


NAMES: Final = GroupNames()

"""The attributes by which lists of groups are filtered and sorted."""

from collections.abc import Mapping
from typing import Any, Final

from api.scim.resources.members import KINDS, MEMBER
from api.scim.schemas.resources import COMMON, GROUPS, Steps
from api.scim.syntax.filters import EVERY, Address, Column, Constant, Relation, Unfiltered, Unknown
from api.scim.syntax.literals import id_of, same
from domain.groups import FIELDS, MEMBERS, PARTS
from domain.lists.fields import ID, Field, Kind, Path
from domain.lists.filters import Comparison, Filter, Operator
from domain.lists.grammar import Names, Term, Token

KIND: Final = Field("kind", Kind.EXACT)
"""The kind of a member."""


def column(name: str, field: str, **options: Any) -> Term:
    steps = GROUPS.steps_to(name)
    assert steps is not None  # noqa: S101  # the names are from this module
    return Column(steps[-1], FIELDS[field], **{"convert": same, **options})


COLUMNS: Final[Mapping[Path, Term]] = {
    ("id",): column("id", "id", convert=id_of, only_equal=True),
    ("externalId",): column("externalId", "external_id"),
    ("displayName",): column("displayName", "name"),
    ("meta", "created"): column("meta.created", "created_at"),
    ("meta", "location"): Address(COMMON["meta"].parts["location"], {"groups": EVERY}),
}

IS_KIND: Final[Mapping[str, Filter]] = {
    type_.name.lower(): Comparison(KIND, Operator.EQ, kind) for kind, type_ in KINDS.items()
}
"""Filters for the type of a member."""

MEMBERS_IN: Final = Relation(
    MEMBER,
    (MEMBERS, PARTS),
    {
        "value": Column(MEMBER.parts["value"], ID, id_of, only_equal=True),
        "$ref": Address(MEMBER.parts["$ref"], {f"{name}s": is_kind for name, is_kind in IS_KIND.items()}),
        "type": Column(
            MEMBER.parts["type"], KIND, lambda name: str(name) if name in IS_KIND else None, only_equal=True
        ),
    },
)

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
        if steps[0] is MEMBER:
            return MEMBERS_IN.part(path[1].lower()) if len(path) > 1 else MEMBERS_IN
        if path in {("meta", "resourceType"), ("schemas",)}:
            return Constant(steps[-1], GROUPS.name if len(path) > 1 else GROUPS.schema.id)
        return Unfiltered(steps[-1])


NAMES: Final = GroupNames()

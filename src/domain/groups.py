"""Groups: their fields, the rules of these fields, and the interface of their store."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Final, TypeAlias

from domain.entities import Deletable, Editable, Entity, check
from domain.lists.fields import Field, Fields, Kind, fields_of
from domain.stores import ReadStore, Store
from domain.values import Attributes, JsonObject, Text

NAME: Final = Text(max=200, folds=True, trims=True)
EXTERNAL_ID: Final = Text(max=255)
DESCRIPTION: Final = Text(max=1000)
ATTRIBUTES: Final = Attributes()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProfile:
    """The fields of a group that a client may set. The name is stored without surrounding white space, and compares by
    its folded form."""

    name: Annotated[str, NAME]
    external_id: Annotated[str | None, EXTERNAL_ID] = None
    description: Annotated[str | None, DESCRIPTION] = None
    attributes: Annotated[JsonObject, ATTRIBUTES] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup(GroupProfile):
    """A group to be created. Raises `Invalid` with every rule that it breaks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(GroupProfile, Entity, Editable, Deletable):
    """A stored group. It has no members of its own: each membership is an entity (`domain.memberships`)."""

    kind: ClassVar[str] = "group"
    created_from: ClassVar[type] = NewGroup
    hidden_since: ClassVar[str] = "deleted_at"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("name",), ("external_id",))

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int


MEMBERS: Final = Field("members", Kind.IDS, sorts=False)
"""The ids of the direct members of a group that are not deleted."""

PARTS: Final = Field("parts", Kind.IDS, sorts=False)
"""The ids of the direct parts of a group that are not deleted."""

FIELDS: Final[Fields] = {
    **fields_of(Group, without={"deleted_at"}, unsorted={"description", "version"}),
    MEMBERS.name: MEMBERS,
}
"""The fields by which lists of groups are filtered and sorted."""

ALL_FIELDS: Final[Fields] = {**FIELDS, PARTS.name: PARTS}
"""The same, with the fields that only SCIM filters by."""

ReadGroups: TypeAlias = ReadStore[Group]
Groups: TypeAlias = Store[NewGroup, Group]

"""Memberships over HTTP: bodies and parameters. The routes are in `api.memberships`."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.bodies.groups import GroupOut
from api.web.bodies import EntityId, text
from api.web.entities import Shown
from api.web.requests import PlainInteger
from api.web.responses import fields_query
from domain.errors import Fault, Invalid
from domain.memberships import ROLE, Membership
from domain.values import MAX_ID, JsonObject

Role = Annotated[str, text(ROLE, "The role of the user in the group, as the client defines it", "lead")]


class MembershipIn(BaseModel):
    """The fields of a membership that a client may set."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "lead"}, {"role": None}]})

    role: Role | None = None


NOTHING_MORE: Final = MembershipIn()
"""The fields in an empty body."""


class MembersIn(BaseModel):
    """Users to add to a group and users to remove from it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"add": [1], "remove": []}, {"add": [1, 2], "role": "lead"}]}
    )

    add: Annotated[list[EntityId], Field(description="Ids of users, each once", examples=[[1, 2]])] = []
    remove: Annotated[list[EntityId], Field(description="Ids of users", examples=[[3]])] = []
    role: Annotated[
        Role | None,
        Field(
            description=(
                "The role of all added users. Without it, the roles of users who are members already stay unchanged"
            )
        ),
    ] = None

    def to_add(self) -> dict[int, JsonObject]:
        """The given fields for each user to add. Raises `Invalid` for a user who is named twice, and for an invalid
        role."""
        first = {id: number for number, id in reversed([*enumerate(self.add)])}
        twice = [number for number, id in enumerate(self.add) if first[id] != number]
        faults = [Fault(f"/add/{number}", "not_allowed", "Is named twice.") for number in twice]
        if self.role is not None:
            faults += ROLE.faults("/role", ROLE.clean(self.role))
        if faults:
            raise Invalid(faults)
        given = self.model_dump(include={"role"}, exclude_unset=True)
        return dict.fromkeys(self.add, given)


class MembersChangedOut(BaseModel):
    """What was done."""

    added: Annotated[int, Field(description="How many were not members before", ge=0, examples=[2])]
    changed: Annotated[int, Field(description="How many were members and got another role", ge=0, examples=[0])]
    removed: Annotated[int, Field(description="How many were members and are no longer", ge=0, examples=[1])]


class MembershipOut(BaseModel):
    """A membership. With the parameter `fields` it has exactly these fields. So no field is required."""

    model_config = ConfigDict(json_schema_extra={"required": [], "examples": [{"group_id": 1, "user_id": 1}]})

    group_id: Annotated[int, Field(description="The id of the group", ge=1, le=MAX_ID, examples=[1])]
    user_id: Annotated[int, Field(description="The id of the user", ge=1, le=MAX_ID, examples=[1])]
    role: Role | None = None
    via: Annotated[
        list[int], Field(description="The groups of which the user is a direct member, with `recursive` only")
    ] = []
    id: Annotated[int, Field(description="Its own id, in changes", ge=1, le=MAX_ID, examples=[1])]
    created_at: Annotated[datetime, Field(description="When it was created, RFC 3339 in UTC")]
    updated_at: Annotated[datetime, Field(description="When it last changed, RFC 3339 in UTC")]
    version: Annotated[int, Field(ge=1, description="Rises by one with each change", examples=[1])]


NAMES: Final = tuple(MembershipOut.model_fields)
SHOWN: Final = Shown(Membership, NAMES, ("group_id", "user_id", "role"))
SHOWN_NESTED: Final[Shown[Any]] = Shown(Membership, NAMES, ("group_id", "user_id", "role", "via"))

MemberId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a user", examples=[1])]
Fields = Annotated[str | None, fields_query(NAMES, "user_id,role")]
RoleEquals = Annotated[
    str | None, Query(description="Only members with this role, which is case-sensitive", examples=["lead"])
]

RecursiveMembers = Annotated[
    bool, Query(description="Include members of groups that are parts of this one", examples=[True])
]
RecursiveGroups = Annotated[bool, Query(description="Include groups of which such a group is a part", examples=[True])]


class UserGroupOut(GroupOut):
    """A group that a user is in."""

    model_config = ConfigDict(json_schema_extra={"required": [], "examples": [{"id": 1, "name": "Engineers"}]})

    via: Annotated[
        list[int] | None,
        Field(
            description=(
                "With `recursive`: the groups through which the user is in it, and of which the user is a direct member"
            )
        ),
    ] = None

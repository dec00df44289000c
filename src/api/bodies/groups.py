"""Groups over HTTP: bodies and parameters. The routes are in `api.groups`."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.web.bodies import attributes, text
from api.web.entities import Shown
from api.web.requests import PlainInteger
from api.web.responses import fields_query
from domain.errors import Fault, Invalid
from domain.groups import ATTRIBUTES, DESCRIPTION, EXTERNAL_ID, NAME, Group, NewGroup
from domain.values import MAX_ID

Name = Annotated[str, text(NAME, "Stored without surrounding white space. Unique without regard to case", "Engineers")]
ExternalId = Annotated[str, text(EXTERNAL_ID, "The id in the client's system. Unique and case-sensitive", "ldap-eng")]
Description = Annotated[str, text(DESCRIPTION, "What the group is for", "Those who build it")]
Attributes = Annotated[dict[str, Any], attributes(ATTRIBUTES, {"cost_center": 4711})]

ENGINEERS: Final[dict[str, Any]] = {
    "name": "Engineers",
    "external_id": "ldap-eng",
    "description": "Those who build it",
    "attributes": {"cost_center": 4711},
}


class GroupIn(BaseModel):
    """A group to be created."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Engineers"}, ENGINEERS]})

    name: Name
    external_id: ExternalId | None = None
    description: Description | None = None
    attributes: Attributes = Field(default_factory=dict)

    def new_group(self, **known: str) -> NewGroup:
        """The new group, with the values of the path (`known`). Raises `Invalid` if the body contradicts them."""
        if any(getattr(self, name) not in {None, value} for name, value in known.items()):
            raise Invalid([Fault(f"/{name}", "not_allowed", "Must be the same as in the path.") for name in known])
        return NewGroup(**{**dict(self), **known})


PATCH: Final[dict[str, Any]] = {"description": None, "attributes": {"cost_center": 4712}}


class GroupPatch(BaseModel):
    """A JSON merge patch (RFC 7396). A field that is left out stays unchanged, null clears a field, attributes are
    merged."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [PATCH]})

    name: Name = Field(default_factory=str)
    external_id: ExternalId | None = None
    description: Description | None = None
    attributes: Attributes | None = None

    def patch(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


WHEN: Final = "2026-07-01T12:00:00.123456Z"


class GroupOut(BaseModel):
    """A group, without its members. Fields without a value are left out. The headers have the version and the time.

    With the parameter `fields` it has exactly these fields, with null if they have no value. So no field is required.
    """

    model_config = ConfigDict(json_schema_extra={"required": [], "examples": [{"id": 1, "name": "Engineers"}]})

    id: Annotated[int, Field(description="Never given out again", ge=1, le=MAX_ID, examples=[1])]
    name: Name
    external_id: ExternalId | None = None
    description: Description | None = None
    attributes: Attributes = Field(default_factory=dict)
    created_at: Annotated[datetime, Field(description="When it was created, RFC 3339 in UTC", examples=[WHEN])]
    updated_at: Annotated[datetime, Field(description="When it last changed, RFC 3339 in UTC", examples=[WHEN])]
    deleted_at: Annotated[datetime | None, Field(description="When it was deleted, null while it is not")]
    version: Annotated[int, Field(ge=1, description="Rises by one with each change of these fields", examples=[1])]


NAMES: Final = tuple(GroupOut.model_fields)
SHOWN: Final = Shown(Group, NAMES)

GroupId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a group", examples=[1])]
Fields = Annotated[str | None, fields_query(NAMES, "id,name")]


def key_equals(description: str, example: str) -> Any:
    return Query(
        description=f"Only the group with this {description}. Short for a filter with `eq`", examples=[example]
    )


NameEquals = Annotated[str | None, key_equals("name, without regard to case", "engineers")]
ExternalIdEquals = Annotated[str | None, key_equals("external id, which is case-sensitive", "ldap-eng")]
Purge = Annotated[bool, Query(description="Erase it permanently, with its values in older changes", examples=[True])]
NameKey = Annotated[str, Path(description="The name, without regard to case", examples=["engineers"])]
ExternalIdKey = Annotated[str, Path(description="The external id, which is case-sensitive", examples=["ldap-eng"])]

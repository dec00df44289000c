"""Users over HTTP: bodies and parameters. The routes are in `api.users`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from pydantic import ConfigDict, Field

from api.web.bodies import BodyIn, BodyOut, CreatedAt, DeletedAt, PlainId, ShownId, UpdatedAt, Version, attributes, text
from api.web.entities import Shown
from domain.errors import Fault, Invalid
from domain.stores import Identifier
from domain.users import ATTRIBUTES, EMAIL, EXTERNAL_ID, NAME, USERNAME, NewUser, Status, User

Name = Annotated[str, text(NAME, "Stored without surrounding white space", "Alice")]
Email = Annotated[str, text(EMAIL, "Stored as it is sent. Unique without regard to case", "alice@example.org")]
Username = Annotated[str, text(USERNAME, "Stored as it is sent. Unique without regard to case", "alice")]
ExternalId = Annotated[str, text(EXTERNAL_ID, "The id in the client's system. Unique and case-sensitive", "hr-4711")]
Attributes = Annotated[dict[str, Any], attributes(ATTRIBUTES, {"department": "eng"})]


ALICE: Final[dict[str, Any]] = {
    "name": "Alice",
    "email": "alice@example.org",
    "username": "alice",
    "external_id": "hr-4711",
    "status": "suspended",
    "attributes": {"department": "eng"},
}


class UserIn(BodyIn):
    """A user to be created."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Alice"}, ALICE]})

    name: Name
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status = Status.ACTIVE
    attributes: Attributes = Field(default_factory=dict)

    def new_user(self, **known: str) -> NewUser:
        """The new user, with the values of the path (`known`). Raises `Invalid` if the body contradicts them."""
        if any(getattr(self, name) not in {None, value} for name, value in known.items()):
            raise Invalid([Fault(f"/{name}", "not_allowed", "Must be the same as in the path.") for name in known])
        return NewUser(**{**dict(self), **known})


PATCH: Final[dict[str, Any]] = {"status": "suspended", "email": None, "attributes": {"department": None, "floor": 3}}


class UserPatch(BodyIn):
    """A JSON merge patch (RFC 7396). A field that is left out stays unchanged, null clears a field, attributes are
    merged."""

    model_config = ConfigDict(json_schema_extra={"examples": [PATCH]})

    name: Name = Field(default_factory=str)
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status | None = None
    attributes: Attributes | None = None

    def patch(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class UserOut(BodyOut):
    """A user. Fields without a value are left out, and so is the status `active`. The headers have the version and the
    time.

    With the parameter `fields` it has exactly these fields, with null if they have no value. So no field is required.
    """

    id: ShownId
    name: Name
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status = Status.ACTIVE
    attributes: Attributes = Field(default_factory=dict)
    created_at: CreatedAt
    updated_at: UpdatedAt
    deleted_at: DeletedAt
    version: Version


NAMES: Final = tuple(UserOut.model_fields)

UserId = Annotated[PlainId, Path(description="The id of a user", examples=[1])]


def key_equals(description: str, example: str) -> Any:
    return Query(description=f"Only the user with this {description}. Short for a filter with `eq`", examples=[example])


EmailEquals = Annotated[str | None, key_equals("e-mail address, without regard to case", "alice@example.org")]
UsernameEquals = Annotated[str | None, key_equals("username, without regard to case", "alice")]
ExternalIdEquals = Annotated[str | None, key_equals("external id, which is case-sensitive", "hr-4711")]
StatusEquals = Annotated[Status | None, Query(description="Only users with this status", examples=["active"])]
Purge = Annotated[bool, Query(description="Erase it permanently, with its values in older changes", examples=[True])]
Restore = Annotated[
    bool,
    Query(description="Restore the newest deleted user that had this external id, if there is one", examples=[True]),
]

FIELD_OF: Final[Mapping[str, str]] = {"external-id": "external_id", "email": "email", "username": "username"}
"""The field of each identifier, by its name in a path."""

IdentifierName = Annotated[
    Literal["external-id", "email", "username"], Path(description="Which identifier", examples=["external-id"])
]
ExternalIdName = Annotated[Literal["external-id"], Path(description="Which identifier", examples=["external-id"])]
IdentifierValue = Annotated[
    str,
    Path(
        description="The value of the identifier. External ids are case-sensitive, the others are not",
        examples=["hr-4711"],
    ),
]


def identified(name: str, value: str) -> Identifier:
    return Identifier(FIELD_OF[name], value)


SHOWN: Final = Shown(User, NAMES)
Fields = Annotated[str | None, SHOWN.query]

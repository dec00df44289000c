"""Users: their fields, the rules of these fields, and the interface of their store."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final, TypeAlias

from domain.entities import Checked, Deletable, Editable, Entity
from domain.lists.fields import Field, Fields, Kind, fields_of
from domain.scim import RECORD, email_of, name_of, readdressed, renamed
from domain.stores import ReadStore, Store
from domain.values import Attributes, JsonObject, OneOf, Text

NAME: Final = Text(max=200, folds=True, trims=True)
EMAIL: Final = Text(max=254, folds=True)  # RFC 5321, section 4.5.3.1.3, less the angle brackets
USERNAME: Final = Text(max=200, folds=True)
EXTERNAL_ID: Final = Text(max=255)
ATTRIBUTES: Final = Attributes()


class Status(StrEnum):
    """Whether a user is active, or suspended for now."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserProfile:
    """The fields of a user that a client may set.

    The name is stored without surrounding white space. E-mail, username and external id are stored as they were sent.
    E-mail and username compare by their folded form, external ids exactly. `scim` is the record that SCIM keeps
    (`domain.scim`), and None if SCIM never wrote this user.
    """

    name: Annotated[str, NAME]
    email: Annotated[str | None, EMAIL] = None
    username: Annotated[str | None, USERNAME] = None
    external_id: Annotated[str | None, EXTERNAL_ID] = None
    status: Annotated[Status, OneOf(Status)] = Status.ACTIVE
    attributes: Annotated[JsonObject, ATTRIBUTES] = field(default_factory=dict)
    scim: Annotated[JsonObject | None, RECORD] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser(UserProfile, Checked):
    """A user to be created. Raises `Invalid` with every rule that it breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User(UserProfile, Entity, Editable, Deletable):
    """A stored user. To change it, make a new one with `revised`, which checks the rules, and `save` the new one."""

    kind: ClassVar[str] = "user"
    created_from: ClassVar[type] = NewUser
    hidden_since: ClassVar[str] = "deleted_at"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("email",), ("username",), ("external_id",))

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int

    def replaced(self, new: UserProfile) -> "User":  # type: ignore[override]  # a profile of its own kind
        """This user with another profile. If the new profile has no SCIM record, the old record is kept and adapted to
        the new fields."""
        user = Editable.replaced(self, new)
        record = self.scim
        if record is None or (new.scim is not None and new.scim != record):
            return user
        if user.name != self.name and user.name != name_of(record, user.username or "", NAME.max):
            record = renamed(record, user.name)
        if user.email != self.email and user.email != email_of(record):
            record = readdressed(record, user.email)
        return replace(user, scim=record)


GROUPS: Final = Field("groups", Kind.IDS, sorts=False)
"""The ids of the groups that a user is a member of and that are not deleted."""

ALL_FIELDS: Final[Fields] = {**fields_of(User, without={"deleted_at"}, unsorted={"version"}), GROUPS.name: GROUPS}
"""The fields by which lists of users are filtered and sorted, including the SCIM record."""

FIELDS: Final[Fields] = {name: each for name, each in ALL_FIELDS.items() if name != "scim"}
"""The same without the SCIM record, for clients of the HTTP API."""

ReadUsers: TypeAlias = ReadStore[User]
Users: TypeAlias = Store[NewUser, User]

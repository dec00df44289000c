"""Users: what one is, the rules of a legal one, and what a store of them promises."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final, TypeAlias

from domain.entities import Deletable, Editable, Entity, check
from domain.fields import Fields, fields_of
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
    """What a client may set of a user.

    The name is stored trimmed, e-mail, username and external id as typed. E-mail and username compare by their folded
    form, external ids exactly.
    """

    name: Annotated[str, NAME]
    email: Annotated[str | None, EMAIL] = None
    username: Annotated[str | None, USERNAME] = None
    external_id: Annotated[str | None, EXTERNAL_ID] = None
    status: Annotated[Status, OneOf(Status)] = Status.ACTIVE
    attributes: Annotated[JsonObject, ATTRIBUTES] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser(UserProfile):
    """A user to be created. Raises `Invalid` with every rule that it breaks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(UserProfile, Entity, Editable, Deletable):
    """A stored user. To change it, make a new one by `revised`, which checks the rules, and `save` that."""

    kind: ClassVar[str] = "user"
    created_from: ClassVar[type] = NewUser
    hidden_since: ClassVar[str] = "deleted_at"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("email",), ("username",), ("external_id",))

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int


FIELDS: Final[Fields] = fields_of(User, without={"deleted_at"}, unsorted={"version"})
"""The fields by which lists of users are filtered and sorted."""

ReadUsers: TypeAlias = ReadStore[User]
Users: TypeAlias = Store[NewUser, User]

"""Users: what one is, the rules of a legal one, and what a store of them promises."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal, Protocol

from domain.errors import Fault, Invalid
from domain.fields import ID, Field, Fields, Kind, declare
from domain.filters import Filter
from domain.pages import BY_ID, Position, Sort
from domain.values import Attributes, JsonObject, Text, escape, merge_patch

NAME: Final = Text(max=200, folds=True)
EMAIL: Final = Text(max=254, folds=True)  # RFC 5321, section 4.5.3.1.3, less the angle brackets
USERNAME: Final = Text(max=200, folds=True)
EXTERNAL_ID: Final = Text(max=255)
ATTRIBUTES: Final = Attributes()


class Status(StrEnum):
    """Whether a user takes part, or is known and does not for now."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to be created. Raises `Invalid` with every rule that it breaks.

    The name is kept trimmed, e-mail, username and external id as typed. E-mail and username are told apart by
    their folded form, external ids exactly.
    """

    name: str
    email: str | None = None
    username: str | None = None
    external_id: str | None = None
    status: Status = Status.ACTIVE
    attributes: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.name, str):
            object.__setattr__(self, "name", self.name.strip())
        if self.status in list(Status):  # or its bare string
            object.__setattr__(self, "status", Status(self.status))
        if faults := list(self._faults()):
            raise Invalid(faults)

    def _faults(self) -> Iterator[Fault]:
        yield from NAME.faults("/name", self.name)
        if self.email is not None:
            yield from EMAIL.faults("/email", self.email)
        if self.username is not None:
            yield from USERNAME.faults("/username", self.username)
        if self.external_id is not None:
            yield from EXTERNAL_ID.faults("/external_id", self.external_id)
        if self.status not in list(Status):
            yield Fault("/status", "not_allowed", f"Must be one of {', '.join(Status)}.")
        yield from ATTRIBUTES.faults("/attributes", self.attributes)


UserKey = Literal["email", "username", "external_id"]

PROFILE: Final = tuple(each.name for each in fields(NewUser))
"""The fields that a client may set."""

PROFILE_DEFAULTS: Final[JsonObject] = {"status": Status.ACTIVE, "attributes": {}}
"""What a profile's fields fall back to when they are cleared, if not to nothing."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is kept. Change it by `revised`, which holds it to the rules, then tell the store to `save`."""

    kind: ClassVar[str] = "user"

    id: int
    name: str
    created_at: datetime
    updated_at: datetime
    version: int
    email: str | None = None
    username: str | None = None
    external_id: str | None = None
    status: Status = Status.ACTIVE
    attributes: JsonObject = field(default_factory=dict)
    deleted_at: datetime | None = None

    def revised(self, **profile: object) -> "User":
        """This user with some of the fields of `NewUser` replaced. Raises `Invalid`."""
        if unknown := profile.keys() - PROFILE:
            raise Invalid(
                [Fault(f"/{escape(name)}", "unknown", "A user has no such field.") for name in sorted(unknown)]
            )
        checked = NewUser(**{name: profile.get(name, getattr(self, name)) for name in PROFILE})  # type: ignore[arg-type]
        return replace(self, **{name: getattr(checked, name) for name in PROFILE})

    def patched(self, patch: JsonObject) -> "User":
        """This user after a JSON merge patch (RFC 7396) of its profile. Raises `Invalid`.

        Null clears a field: the status falls back to active, the attributes to none, and a name there must be.
        """
        profile = {name: PROFILE_DEFAULTS.get(name) if value is None else value for name, value in patch.items()}
        if isinstance(patch.get("attributes"), Mapping):
            profile["attributes"] = merge_patch(self.attributes, patch["attributes"])
        return self.revised(**profile)

    def replaced(self, new: NewUser) -> "User":
        """This user with the profile of another, whole."""
        return replace(self, **{name: getattr(new, name) for name in PROFILE})

    def deleted(self, at: datetime) -> "User":
        """This user as a tombstone: hidden, its keys released."""
        return replace(self, deleted_at=at)

    def restored(self) -> "User":
        return replace(self, deleted_at=None)


FIELDS: Final[Fields] = declare(
    ID,
    Field("name", Kind.FOLDED),
    Field("email", Kind.FOLDED, optional=True),
    Field("username", Kind.FOLDED, optional=True),
    Field("external_id", Kind.EXACT, optional=True),
    Field("status", Kind.EXACT),
    Field("created_at", Kind.INSTANT),
    Field("updated_at", Kind.INSTANT),
    Field("version", Kind.INTEGER, sorts=False),
    Field("attributes", Kind.JSON, sorts=False),
)
"""What lists of users are filtered and sorted by."""


class ReadUsers(Protocol):
    """What a store of users answers."""

    async def get(self, id: int, *, deleted: bool = False) -> User:
        """The user of that id, as last committed or as this unit of work left it.

        Raises `NotFound` if there never was one or it was erased, and `Gone` if it is deleted, unless `deleted`
        asks for such too. In a writing unit of work nobody else can change that user before the unit ends.
        """
        ...

    async def find(self, key: UserKey, value: str) -> User:
        """The user who has this key and is not deleted, as `get` gives it. Raises `NotFound`.

        E-mail and username are looked up by their folded form.
        """
        ...

    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Sequence[User]:
        """At most `limit` users that are not deleted and match the filter, in the order of the sort.

        With `after`, those that follow this position (`sort.position(user)`), whether or not a user still has it.
        Raises `Malformed` if it is not a position of this sort.
        """
        ...

    async def count(self, filter: Filter | None = None) -> int:
        """How many users that are not deleted match the filter. Takes as long as reading them all."""
        ...


class Users(ReadUsers, Protocol):
    """A store of users within one unit of work. Nothing is kept unless the unit commits."""

    async def add(self, new: NewUser) -> User:
        """The new user with an id that was never given out before, at version 1.

        Raises `Conflict` naming a key (email, username, external_id) that a user who is not deleted has already;
        where there are several, any of them.
        """
        ...

    async def save(self, user: User) -> User:
        """The user as it is now kept: one version on, updated now.

        Raises `Stale` unless the kept user is at `user.version`, `NotFound` if there is none, `Conflict` as `add`.
        """
        ...

    async def remove(self, user: User) -> None:
        """Erase the user. Raises `Stale` and `NotFound` as `save`."""
        ...

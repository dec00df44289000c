"""Entities: what all kinds have in common, and how a changed entity is made by the rules of its fields.

Each kind declares three dataclasses. `UserProfile` has the fields that a client may set, each with its rule as its
annotation. `NewUser` is a checked profile: a user to be created. `User` adds what the store sets: id, version and
times.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, dataclass, fields, replace
from datetime import datetime
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, cast, get_args

from domain.errors import Fault, Invalid
from domain.references import Reference
from domain.values import Attributes, JsonObject, Rule, escape, merge_patch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Entity:
    """A stored entity: a frozen dataclass with slots, with these fields, `created_at` and `updated_at`."""

    __slots__ = ()

    kind: ClassVar[str]
    """Its name in the record of changes."""

    unique: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Unique fields, and groups of fields that are unique together. Hidden entities do not count.

    `Conflict` names all fields of a group. `find` takes single fields only.
    """

    references: ClassVar[tuple[Reference, ...]] = ()
    identified_by: ClassVar[tuple[str, ...]] = ()
    """Fields that identify an entity, besides its id. Every change of it has them."""

    hidden_since: ClassVar[str | None] = None
    """The field with the time at which the entity was hidden, by a deletion or a revocation. None if this kind has no
    tombstones."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

        @property
        def id(self) -> int: ...
        @property
        def version(self) -> int: ...

    @property
    def is_hidden(self) -> bool:
        return self.hidden_since is not None and getattr(self, self.hidden_since) is not None


E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Named:
    """One field of a profile: its rule, and its value after it was cleared."""

    rule: Rule
    optional: bool
    default: Any


@cache
def profile_of(new: type) -> Mapping[str, Named]:
    """The fields of a profile, by name. Every one has a rule in its annotation."""
    return {each.name: named(each) for each in fields(new)}


def named(each: "Field[Any]") -> Named:
    type_, rule, *_ = get_args(each.type)
    default = each.default if each.default_factory is MISSING else each.default_factory()
    return Named(rule, NoneType in get_args(type_), None if default is MISSING else default)


def check(profile: "DataclassInstance") -> None:
    """Check a profile by the rules of its fields, and normalise its values. Raises `Invalid` with every fault."""
    faults: list[Fault] = []
    for name, rule, optional in rules_of(type(profile)):
        value = getattr(profile, name)
        if (value is None and optional) or rule.accepts(value):
            continue
        if (clean := rule.clean(value)) is not value:
            object.__setattr__(profile, name, clean)
        faults += rule.faults(f"/{name}", clean)
    if faults:
        raise Invalid(faults)


@cache
def rules_of(new: type) -> tuple[tuple[str, Rule, bool], ...]:
    return tuple((name, each.rule, each.optional) for name, each in profile_of(new).items())


class Checked:
    """A profile whose rules are checked when it is created. Raises `Invalid` with every rule that it breaks."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check(cast("DataclassInstance", self))


class Editable:
    """An entity whose profile can be changed, by the rules of the class that it was created from."""

    __slots__ = ()

    created_from: ClassVar[type]

    def revised(self, **profile: object) -> Self:
        """This entity with some fields of its profile replaced. Raises `Invalid`."""
        known = profile_of(self.created_from)
        if unknown := profile.keys() - known.keys():
            raise Invalid([Fault(f"/{escape(name)}", "unknown", "There is no such field.") for name in sorted(unknown)])
        return self.replaced(self.created_from(**{name: profile.get(name, getattr(self, name)) for name in known}))

    def patched(self, patch: JsonObject) -> Self:
        """This entity after a JSON merge patch (RFC 7396) of its profile. Raises `Invalid`.

        Null clears a field, which then has its default. A field without a default cannot be cleared. JSON objects are
        merged.
        """
        known = profile_of(self.created_from)
        return self.revised(**{name: self._merged(name, value, known.get(name)) for name, value in patch.items()})

    def _merged(self, name: str, value: object, known: Named | None) -> object:
        if value is None and known is not None:
            return deepcopy(known.default)  # an object of its own
        if isinstance(value, Mapping) and known is not None and isinstance(known.rule, Attributes):
            return merge_patch(getattr(self, name), value)
        return value

    def replaced(self, new: object) -> Self:
        """This entity with the whole profile of another one."""
        values = {name: getattr(new, name) for name in profile_of(self.created_from)}
        return replace(self, **values)  # type: ignore[type-var]


class Deletable:
    """An entity with a tombstone. While it is deleted, it is hidden and others can use its unique values. It can be
    restored."""

    __slots__ = ()

    def deleted(self, at: datetime) -> Self:
        return replace(self, deleted_at=at)  # type: ignore[type-var]

    def restored(self) -> Self:
        return replace(self, deleted_at=None)  # type: ignore[type-var]


BOOKKEEPING: Final = frozenset({"id", "version", "created_at", "updated_at"})
"""Fields that are not in `before` and `after`, because a change has its own columns for them."""

"""References: an entity names another one by its id, and what happens to it when that one goes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

Subject: TypeAlias = tuple[str, int]
"""Whom a change is about: kind and id."""


class Then(StrEnum):
    """What happens to an entity when the one that it refers to is deleted or erased."""

    REFUSE = "refuse"
    """Nothing: the other cannot go while this one refers to it (`InUse`)."""

    END = "end"
    """It ends as well. Its changes stay."""

    CLEAR = "clear"
    """It goes on without: the field becomes None."""


class HasKind(Protocol):
    """A class of entities."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Reference:
    """The `field` of an entity holds the id of another one, which exists and is not deleted, or None.

    Both are subjects of its changes. `about` says that what this entity holds is personal to the other: when the other
    one is erased, the values in its changes are erased too.
    """

    field: str
    to: type[HasKind]
    on_delete: Then = Then.REFUSE
    on_purge: Then = Then.REFUSE
    about: bool = False

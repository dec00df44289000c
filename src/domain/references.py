"""References: an entity refers to another one by its id, and declares what happens when that one is removed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

Subject: TypeAlias = tuple[str, int]
"""An entity that a change is about: its kind and id."""


class Then(StrEnum):
    """What happens to an entity when the one that it refers to is deleted or erased."""

    REFUSE = "refuse"
    """The other one can be neither deleted nor erased while this one refers to it (`InUse`)."""

    END = "end"
    """It ends as well. Its changes stay."""

    CLEAR = "clear"
    """It stays, and the field becomes None."""

    HIDE = "hide"
    """It is hidden as well, and comes back with the other one. For deletions only.

    It is hidden by nothing else, so that what comes back is what was hidden.
    """

    KEEP = "keep"
    """It stays as it is. Whoever lists it by the other one finds that one deleted. For deletions only."""


class HasKind(Protocol):
    """A class of entities."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Reference:
    """The `field` of an entity has the id of another one, which exists and is not deleted, or None.

    Both are subjects of its changes. `about` says that the values of this entity are personal to the other one: when
    that one is erased, the values in the changes of this entity are erased too.
    """

    field: str
    to: type[HasKind]
    on_delete: Then = Then.REFUSE
    on_purge: Then = Then.REFUSE
    about: bool = False

    def __post_init__(self) -> None:
        if self.on_purge in (Then.HIDE, Then.KEEP):
            raise TypeError("Nothing can stay that refers to what was erased.")

"""References: an entity refers to another one by its id, and declares what happens when that one is removed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, TypeAlias

Subject: TypeAlias = tuple[str, int]
"""An entity that a change is about: its kind and id."""


class ReferentialAction(StrEnum):
    """What happens to an entity when the one that it refers to is deleted or erased."""

    REFUSE = "refuse"
    """The other one can be neither deleted nor erased while this one refers to it. The refusal is `InUse`."""

    END = "end"
    """This one ends too. Its changes are kept."""

    CLEAR = "clear"
    """The field becomes None."""

    HIDE = "hide"
    """This one is hidden too, and restored together with the other one. For deletions only.

    Nothing else may hide it, so that a restoration restores exactly what the deletion hid.
    """

    KEEP = "keep"
    """Nothing. Clients reach this one only through the other one, which is deleted. For deletions only."""


class HasKind(Protocol):
    """A class of entities."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Reference:
    """The `field` of an entity has the id of another entity, or None. The other one must exist and must not be deleted.

    Both are subjects of the changes. `about` says that the values of this entity are personal data of the other one.
    When the other one is erased, the values in the changes of this entity are erased too.
    """

    field: str
    to: type[HasKind]
    on_delete: ReferentialAction = ReferentialAction.REFUSE
    on_purge: ReferentialAction = ReferentialAction.REFUSE
    about: bool = False

    def __post_init__(self) -> None:
        if self.on_purge in (ReferentialAction.HIDE, ReferentialAction.KEEP):
            raise TypeError("An entity cannot keep a reference to an erased one.")

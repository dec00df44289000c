"""Groups with their members as one thing: for protocols to which the members are a part of the group."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from domain.groups import Group
from domain.references import Subject

NOBODY: AbstractSet[Subject] = frozenset()


@dataclass(frozen=True, slots=True)
class MembersPatch:
    """Users and groups, by kind and id, to be added and removed. If it `replaces`, all others are removed."""

    add: AbstractSet[Subject] = NOBODY
    remove: AbstractSet[Subject] = NOBODY
    replaces: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.add or self.remove or self.replaces)

    def then_add(self, members: AbstractSet[Subject]) -> "MembersPatch":
        return MembersPatch(self.add | members, self.remove - members, self.replaces)

    def then_remove(self, members: AbstractSet[Subject]) -> "MembersPatch":
        return MembersPatch(self.add - members, NOBODY if self.replaces else self.remove | members, self.replaces)


@dataclass(frozen=True, slots=True)
class GroupWithMembers:
    """`revision` is the number of the last change of the group or of who is in it, and `changed_at` its time.

    `members` are users and groups, by kind and id. They are None if they were not asked for.
    """

    group: Group
    revision: int
    changed_at: datetime
    members: Sequence[Subject] | None = None

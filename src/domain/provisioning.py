"""Groups with their members as one thing: for protocols to which the members are a part of the group."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from domain.groups import Group
from domain.references import Subject

NOBODY: AbstractSet[Subject] = frozenset()


@dataclass(frozen=True, slots=True)
class MembersPatch:
    """Users and groups, by kind and id, to be added and removed.

    If it `replaces`, all others are removed. Members for which one of `matching` is true are removed too: to find them,
    all members are read.
    """

    add: AbstractSet[Subject] = NOBODY
    remove: AbstractSet[Subject] = NOBODY
    replaces: bool = False
    matching: tuple[Callable[[Subject], bool], ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.add or self.remove or self.replaces or self.matching)

    @property
    def reads_all(self) -> bool:
        return self.replaces or bool(self.matching)

    def removes(self, member: Subject) -> bool:
        """Whether a member that is there already is not to stay."""
        if member in self.add:
            return False
        return self.replaces or member in self.remove or any(matches(member) for matches in self.matching)

    def then_add(self, members: AbstractSet[Subject]) -> "MembersPatch":
        return replace(self, add=self.add | members, remove=self.remove - members)

    def then_remove(self, members: AbstractSet[Subject]) -> "MembersPatch":
        return replace(self, add=self.add - members, remove=self.remove | members)

    def then_remove_matching(self, matches: Callable[[Subject], bool]) -> "MembersPatch":
        kept = frozenset(each for each in self.add if not matches(each))
        return replace(self, add=kept, matching=(*self.matching, matches))


@dataclass(frozen=True, slots=True)
class GroupWithMembers:
    """`revision` is the number of the last change of the group or of who is in it, and `changed_at` its time.

    `members` are users and groups, by kind and id. They are None if they were not asked for.
    """

    group: Group
    revision: int
    changed_at: datetime
    members: Sequence[Subject] | None = None

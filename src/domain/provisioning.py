"""Groups together with their members, for protocols in which the members belong to the group, such as SCIM."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from domain.groups import Group
from domain.references import Subject

NOBODY: AbstractSet[Subject] = frozenset()


@dataclass(frozen=True, slots=True)
class MembersPatch:
    """The members to add and to remove: users and groups, each by kind and id.

    If it `replaces`, all other members are removed. Members for which one of `matching` is true are removed too. To
    find those, all members are read.
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
        """Whether an existing member has to be removed."""
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
    """A group and its members. `revision` is the number of the last change of the group or its members, `changed_at`
    its time.

    `members` are users and groups, each by kind and id. They are None if the caller did not ask for them.
    """

    group: Group
    revision: int
    changed_at: datetime
    members: Sequence[Subject] | None = None

"""Nestings: that a group is a part of another one, and what reaches through them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, NamedTuple, Protocol

from domain.entities import Entity, check
from domain.errors import Refusal
from domain.groups import Group
from domain.references import Reference, Then
from domain.stores import ReadStore, Store
from domain.values import Id


class Cycle(Refusal):
    code = "cycle"

    def __init__(self) -> None:
        super().__init__("The group would be a part of itself.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NestingProfile:
    """Which group is a part of which: the members of the child are members of the group as well."""

    group_id: Annotated[int, Id()]
    child_id: Annotated[int, Id()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNesting(NestingProfile):
    """A nesting to be created. Raises `Invalid` with every rule that it breaks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting(NestingProfile, Entity):
    """A stored nesting. Deleted groups keep theirs, and nothing reaches through them."""

    kind: ClassVar[str] = "nesting"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("group_id", "child_id"),)
    identified_by: ClassVar[tuple[str, ...]] = ("group_id", "child_id")
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("group_id", Group, on_delete=Then.KEEP, on_purge=Then.END),
        Reference("child_id", Group, on_delete=Then.KEEP, on_purge=Then.END),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is in a group itself, or in one that is a part of it.

    `via` are the ids of those groups of which the user is a direct member, in rising order. `role` is that of its
    membership of the group itself, if it has one.
    """

    group_id: int
    user_id: int
    role: str | None
    via: tuple[int, ...]

    # What a membership has beside that, and no one of several can stand for:
    id: ClassVar[None] = None
    created_at: ClassVar[None] = None
    updated_at: ClassVar[None] = None
    version: ClassVar[None] = None


class Reached(NamedTuple):
    """A group that a user is in. `via` are the groups of which it is a member itself and that lead there."""

    group: Group
    via: tuple[int, ...]


class ReadNestings(ReadStore[Nesting], Protocol):
    """A store of nestings, to read."""

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        """The nesting of one group in the other one, if there is one."""
        ...

    async def of_groups(self, ids: Collection[int]) -> Sequence[Nesting]:
        """All nestings in these groups, without those of deleted children, by group and child, in one statement."""
        ...

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        """At most `limit` groups that are parts of a group themselves and not deleted, with ids above `after`."""
        ...

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        """At most `limit` members of a group and of all that are parts of it, by the ids of users above `after`.

        It takes one statement. A page costs the same at any depth, and more with each group that is a part.
        """
        ...

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        """At most `limit` groups that a user is in, also by groups that are parts of them, with ids above `after`.

        It takes one statement.
        """
        ...


class Nestings(ReadNestings, Store[NewNesting, Nesting], Protocol):
    """A store of nestings within one unit of work.

    `add` raises `Cycle` if the child is the group itself, or if the group is a part of it, also by way of deleted
    groups. Of units that add nestings at the same time, each sees what those before it added.
    """

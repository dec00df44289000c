"""Nestings: a group is a part of another group, so its members are members of that group too."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, NamedTuple, Protocol

from domain.entities import Entity, check
from domain.errors import Refusal
from domain.groups import Group
from domain.references import Reference, ReferentialAction
from domain.stores import ReadStore, Store
from domain.values import Id


class Cycle(Refusal):
    code = "cycle"

    def __init__(self) -> None:
        super().__init__("The group would be a part of itself.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NestingProfile:
    """The child is a part of the group: the members of the child are members of the group too."""

    group_id: Annotated[int, Id()]
    child_id: Annotated[int, Id()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNesting(NestingProfile):
    """A nesting to be created. Raises `Invalid` with every rule that it breaks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting(NestingProfile, Entity):
    """A stored nesting. Deleted groups keep their nestings, but these have no effect."""

    kind: ClassVar[str] = "nesting"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("group_id", "child_id"),)
    identified_by: ClassVar[tuple[str, ...]] = ("group_id", "child_id")
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("group_id", Group, on_delete=ReferentialAction.KEEP, on_purge=ReferentialAction.END),
        Reference("child_id", Group, on_delete=ReferentialAction.KEEP, on_purge=ReferentialAction.END),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is a member of a group, either directly or through one of its parts.

    `via` are the ids of the groups of which the user is a direct member, in ascending order. `role` is the role in the
    group itself, if the user is a direct member of it.
    """

    group_id: int
    user_id: int
    role: str | None
    via: tuple[int, ...]

    # The other fields of a membership, which have no value here, because there may be several memberships:
    id: ClassVar[None] = None
    created_at: ClassVar[None] = None
    updated_at: ClassVar[None] = None
    version: ClassVar[None] = None


class Reached(NamedTuple):
    """A group that a user is in. `via` are the ids of the groups of which the user is a direct member and that are
    parts of it, or the group itself."""

    group: Group
    via: tuple[int, ...]


class ReadNestings(ReadStore[Nesting], Protocol):
    """A store of nestings, to read."""

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        """The nesting of the child in the group, if there is one."""
        ...

    async def of_groups(self, ids: Collection[int]) -> Sequence[Nesting]:
        """All nestings in these groups, without those of deleted children, sorted by group and child, by one
        statement."""
        ...

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        """At most `limit` direct parts of a group that are not deleted, with ids above `after`."""
        ...

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        """At most `limit` members of a group and of all its parts, sorted by the ids of the users, with ids above
        `after`.

        It takes one statement. All pages cost the same. The cost grows with the number of parts.
        """
        ...

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        """At most `limit` groups that a user is in, directly or through parts, with ids above `after`.

        It takes one statement.
        """
        ...


class Nestings(ReadNestings, Store[NewNesting, Nesting], Protocol):
    """A store of nestings within one unit of work.

    `add` raises `Cycle` if the child is the group itself, or if the group is a part of the child. Deleted groups count
    here. If several units add nestings at the same time, they run one after the other, and each sees the nestings
    before.
    """

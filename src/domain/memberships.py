"""Memberships: a user is a member of a group, with a role."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final, Protocol

from domain.entities import Deletable, Editable, Entity, check
from domain.groups import Group
from domain.lists.fields import Fields, fields_of
from domain.lists.pages import Order, Sort
from domain.references import Reference, ReferentialAction
from domain.stores import ReadStore, Store
from domain.users import User
from domain.values import Id, Text

ROLE: Final = Text(max=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipProfile:
    """The user, the group, and the role. Roles are case-sensitive."""

    group_id: Annotated[int, Id()]
    user_id: Annotated[int, Id()]
    role: Annotated[str | None, ROLE] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMembership(MembershipProfile):
    """A membership to be created. Raises `Invalid` with every rule that it breaks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership(MembershipProfile, Entity, Editable, Deletable):
    """A stored membership. It is hidden while its user is deleted, and never for another reason.

    A deleted group keeps its memberships. Nobody sees them, because the group itself cannot be read.
    """

    kind: ClassVar[str] = "membership"
    created_from: ClassVar[type] = NewMembership
    hidden_since: ClassVar[str] = "deleted_at"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("group_id", "user_id"),)
    identified_by: ClassVar[tuple[str, ...]] = ("group_id", "user_id")
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("group_id", Group, on_delete=ReferentialAction.KEEP, on_purge=ReferentialAction.END),
        Reference("user_id", User, on_delete=ReferentialAction.HIDE, on_purge=ReferentialAction.END, about=True),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int

    @property
    def via(self) -> tuple[int, ...]:
        """The groups through which the user is a member: see `domain.nestings.Member`."""
        return (self.group_id,)


FIELDS: Final[Fields] = fields_of(
    Membership, without={"deleted_at"}, unsorted={"id", "group_id", "role", "created_at", "updated_at", "version"}
)
"""The fields by which lists of memberships are filtered."""

BY_USER: Final = Sort((Order(FIELDS["user_id"]),))
"""The order of the members of one group. A user is there only once."""


class ReadMemberships(ReadStore[Membership], Protocol):
    """A store of memberships, to read. Those of a deleted group are not hidden."""

    async def among(self, group_id: int, user_ids: Collection[int], *, hidden: bool = False) -> Sequence[Membership]:
        """The memberships of these users in the group, in the order of the ids of the memberships, by one statement.

        Memberships of deleted users are included only if `hidden` is true.
        """
        ...

    async def of_groups(self, ids: Collection[int]) -> Sequence[Membership]:
        """All memberships of these groups, without those of deleted users, sorted by group and user."""
        ...

    async def of_users(self, ids: Collection[int]) -> Sequence[Membership]:
        """All memberships of these users in groups that are not deleted, sorted by user and group."""
        ...


class Memberships(ReadMemberships, Store[NewMembership, Membership], Protocol):
    """A store of memberships within one unit of work."""


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """How many memberships of a group were created, got another role, and ended."""

    group: Group
    added: int
    changed: int
    removed: int

    @property
    def about(self) -> Group:
        return self.group

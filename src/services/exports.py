"""Exports: the whole directory, and all data about one person."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from domain.changes import Change
from domain.entities import Editable, Entity, profile_of
from domain.imports import Kind
from domain.keys import Scope
from domain.lists.filters import Filter, equal
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.memberships import FIELDS, Membership, ReadMemberships
from domain.stores import Hidden, ReadStore
from domain.users import User
from domain.values import JsonObject, JsonValue
from domain.work import RequestContext, UnitsOfWork
from services.operations import streaming

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class PersonPart:
    """A part of the data about a person: the user, its memberships, and some of its changes. All parts have the same
    user and memberships."""

    user: User
    memberships: Sequence[Membership]
    changes: Sequence[Change]


class ExportService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @streaming(Scope.USERS_READ, Scope.GROUPS_READ, Scope.CHANGES_READ)
    async def person(self, id: int) -> AsyncGenerator[PersonPart]:
        """The user, even if deleted, its memberships, and all changes about it, as they are at one moment.

        The first part has no changes. Raises `NotFound` if there was never such a user, or if it was erased.
        """
        self.context.min_seq = None  # a replica may be lost on the way, and no other server has the same moment
        async with self.units.snapshot(self.context) as work:
            user = await work.users.get(id, hidden=True)
            memberships = await memberships_of(work.memberships, id)
            yield PersonPart(user, memberships, ())
            since = 0
            while changes := await work.changes.list(since=since, subject=(User.kind, id), limit=MAX_LIMIT):
                yield PersonPart(user, memberships, changes)
                since = changes[-1].seq

    @streaming(Scope.USERS_READ, Scope.GROUPS_READ)
    async def everything(self) -> AsyncGenerator[Sequence[JsonObject]]:
        """All groups, then all nestings, then all users with their groups, as rows of an import, as they are at one
        moment.

        Deleted entities are left out. Importing these rows into an empty directory gives the same groups, in the same
        order, with the same members.
        """
        async with self.units.snapshot(self.context) as work:
            names: dict[int, str] = {}
            async for groups in all_of(work.groups):
                names.update((each.id, each.name) for each in groups)
                yield [{"kind": Kind.GROUP, **given(each)} for each in groups]
            async for nestings in all_of(work.nestings):
                yield [
                    {"kind": Kind.NESTING, "group": names[each.group_id], "child": names[each.child_id]}
                    for each in nestings
                    if each.group_id in names and each.child_id in names
                ]
            async for users in all_of(work.users):
                memberships = await work.memberships.of_users([each.id for each in users])
                yield [*rows_of(users, memberships, names)]

    @streaming(Scope.USERS_READ)
    async def users(self, filter: Filter) -> AsyncGenerator[Sequence[JsonObject]]:
        """The users who match the filter, without their groups, as rows of an import."""
        async with self.units.snapshot(self.context) as work:
            async for users in all_of(work.users, filter):
                yield [given(each) for each in users]


async def all_of(store: ReadStore[E], filter: Filter | None = None) -> AsyncGenerator[Sequence[E]]:
    after = None
    while page := await store.list(filter=filter, after=after, limit=MAX_LIMIT):
        yield page
        after = BY_ID.position(page[-1])


def given(entity: Editable) -> JsonObject:
    """The fields that a client may set and that have a value."""
    profile = profile_of(entity.created_from).items()
    return {name: value for name, each in profile if (value := getattr(entity, name)) != each.default}


def rows_of(users: Sequence[User], memberships: Sequence[Membership], names: Mapping[int, str]) -> Iterator[JsonObject]:
    """Rows of users with their groups. A group is a name, or an object with the name and the role."""
    groups: dict[int, list[JsonValue]] = {}
    for each in memberships:
        name = names[each.group_id]
        groups.setdefault(each.user_id, []).append(name if each.role is None else {"name": name, "role": each.role})
    for user in users:
        yield {**given(user), "groups": groups[user.id]} if user.id in groups else given(user)


async def memberships_of(memberships: ReadMemberships, user_id: int) -> Sequence[Membership]:
    """All memberships of one user, including those that are hidden because the user is deleted."""
    found: list[Membership] = []
    its, after = equal(FIELDS["user_id"], user_id), None
    while page := await memberships.list(filter=its, hidden=Hidden.ANY, after=after, limit=MAX_LIMIT):
        found += page
        after = BY_ID.position(page[-1])
    return found

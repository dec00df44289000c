"""Exports: what the directory holds on one person."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from domain.changes import Change
from domain.keys import Scope
from domain.lists.filters import equal
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.memberships import FIELDS, Membership, ReadMemberships
from domain.stores import Hidden
from domain.users import User
from domain.work import RequestContext, UnitsOfWork
from services.operations import streaming


@dataclass(frozen=True, slots=True)
class PersonPart:
    """A part of what is held on a person: the user and its memberships, which every part has, and some of the changes
    about it."""

    user: User
    memberships: Sequence[Membership]
    changes: Sequence[Change]


class ExportService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @streaming(Scope.USERS_READ, Scope.GROUPS_READ, Scope.CHANGES_READ)
    async def person(self, id: int) -> AsyncGenerator[PersonPart]:
        """The user, deleted or not, its memberships, and all changes about it, as they were at one moment.

        The first part has no changes.
        Raises `NotFound` if there never was one, or if it was erased.
        """
        async with self.units.snapshot(self.context) as work:
            user = await work.users.get(id, hidden=True)
            memberships = await memberships_of(work.memberships, id)
            yield PersonPart(user, memberships, ())
            since = 0
            while changes := await work.changes.list(since=since, subject=(User.kind, id), limit=MAX_LIMIT):
                yield PersonPart(user, memberships, changes)
                since = changes[-1].seq


async def memberships_of(memberships: ReadMemberships, user_id: int) -> Sequence[Membership]:
    """All of one user: also those that are hidden while it is deleted."""
    found: list[Membership] = []
    its, after = equal(FIELDS["user_id"], user_id), None
    while page := await memberships.list(filter=its, hidden=Hidden.ANY, after=after, limit=MAX_LIMIT):
        found += page
        after = BY_ID.position(page[-1])
    return found

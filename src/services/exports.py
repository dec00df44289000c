"""Everything out: what the directory holds on one person."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from domain.changes import Change
from domain.keys import Scope
from domain.pages import MAX_LIMIT
from domain.users import User
from domain.work import RequestContext, UnitsOfWork
from services.operations import streaming


@dataclass(frozen=True, slots=True)
class PersonPart:
    """A part of what is held on a person: the user, which every part has, and some of the changes about it."""

    user: User
    changes: Sequence[Change]


class ExportService:
    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context

    @streaming(Scope.USERS_READ, Scope.CHANGES_READ)
    async def person(self, id: int) -> AsyncGenerator[PersonPart]:
        """The user, deleted or not, and all changes about it, in the state of one moment. The first part has none.

        Raises `NotFound` if there never was one, or if it was erased.
        """
        async with self.units.snapshot(self.context) as work:
            user = await work.users.get(id, hidden=True)
            yield PersonPart(user, ())
            since = 0
            while changes := await work.changes.list(since=since, subject=(User.kind, id), limit=MAX_LIMIT):
                yield PersonPart(user, changes)
                since = changes[-1].seq

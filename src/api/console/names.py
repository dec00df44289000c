"""The names of the people that changes are about, and of the keys that made these changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from api.console.pages import service
from api.web.access import actor_of
from domain.changes import Change
from domain.lists.pages import MAX_LIMIT
from domain.users import User

CONSOLE: Final = "console:"


@dataclass(frozen=True, slots=True)
class Actors:
    """The names of keys."""

    keys: Mapping[str, str]

    def name(self, actor: str) -> str:
        """The name of a key, whether it was used through the API or in the console. Empty for other actors."""
        return self.keys.get(actor.removeprefix(CONSOLE), "")


@dataclass(frozen=True, slots=True)
class Names:
    users: Mapping[int, str]
    actors: Actors

    def of(self, kind: str, id: int) -> str:
        return self.users.get(id, "") if kind == User.kind else ""


async def actors_of(request: Request) -> Actors:
    """The names of keys, if the session may read keys. Revoked keys have no name here."""
    if not request.state.session.may("keys:admin"):
        return Actors({})
    keys = await service(request, lambda container: container.keys).list(limit=MAX_LIMIT)
    return Actors({actor_of(key): key.name for key in keys.items})


async def names_of(request: Request, changes: Sequence[Change]) -> Names:
    """The names of the people in these changes, as far as the session may read them."""
    users: dict[int, str] = {}
    if request.state.session.may("users:read"):
        ids = {id for change in changes for kind, id in change.subjects if kind == User.kind}
        found = await service(request, lambda container: container.users).get_many(ids)
        users = {user.id: user.name for user in found}
    return Names(users, await actors_of(request))

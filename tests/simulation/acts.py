"""The requests that clients of a simulation can send."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.simulation.beginnings import GROUPS, NAMES
from tests.simulation.world import Process

from domain.groups import NewGroup
from domain.users import NewUser
from domain.work import RequestContext
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

if TYPE_CHECKING:
    from domain.values import JsonObject

T = TypeVar("T")

EMAILS: Final = ("a@x", "B@x", "b@X")
"""A few emails, for which clients compete. The last two are the same when folded."""

EXTERNAL_IDS: Final = ("e1", "e2")


@dataclass(frozen=True, slots=True)
class Asked:
    context: RequestContext
    target: int
    expected: tuple[int, ...] | None
    token: str
    """A text that occurs nowhere else, so it shows where a value is stored."""

    draws: tuple[float, float]

    @property
    def email(self) -> str | None:
        return pick(EMAILS, self.draws[0]) if self.draws[1] < 1 / 2 else None

    @property
    def group(self) -> int:
        return pick(GROUPS, self.draws[0])

    @property
    def other_group(self) -> int:
        return pick(GROUPS, self.draws[1])


def pick(among: Sequence[T], draw: float) -> T:
    return among[int(draw * len(among))]


Act = Callable[[Process, Asked], Coroutine[Any, Any, Any]]


async def create(process: Process, asked: Asked) -> Any:
    return await UserService(process, asked.context).create(NewUser(name=asked.token, email=asked.email))


async def put(process: Process, asked: Asked) -> Any:
    new = NewUser(name=asked.token, external_id=pick(EXTERNAL_IDS, asked.draws[0]))
    return await UserService(process, asked.context).put(new, expected=asked.expected)


async def patch(process: Process, asked: Asked) -> Any:
    change = {"name": asked.token}
    return await UserService(process, asked.context).patch(asked.target, change, expected=asked.expected)


async def give_email(process: Process, asked: Asked) -> Any:
    change = {"email": asked.email}
    return await UserService(process, asked.context).patch(asked.target, change, expected=asked.expected)


async def delete(process: Process, asked: Asked) -> Any:
    return await UserService(process, asked.context).delete(asked.target, expected=asked.expected)


async def restore(process: Process, asked: Asked) -> Any:
    return await UserService(process, asked.context).restore(asked.target)


async def purge(process: Process, asked: Asked) -> Any:
    return await UserService(process, asked.context).purge(asked.target, expected=asked.expected)


async def get(process: Process, asked: Asked) -> Any:
    return await UserService(process, asked.context).get(asked.target)


async def create_group(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).create(NewGroup(name=pick(NAMES, asked.draws[0])))


async def delete_group(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).delete(asked.group)


async def restore_group(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).restore(asked.group)


async def purge_group(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).purge(asked.group)


async def nest(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).nest(asked.group, asked.other_group)


async def unnest(process: Process, asked: Asked) -> Any:
    return await GroupService(process, asked.context).unnest(asked.group, asked.other_group)


async def join(process: Process, asked: Asked) -> Any:
    given = {"role": asked.token} if asked.draws[1] < 1 / 2 else {}
    return await MembershipService(process, asked.context).put(asked.group, asked.target, given)


async def leave(process: Process, asked: Asked) -> Any:
    return await MembershipService(process, asked.context).remove(asked.group, asked.target)


async def change_members(process: Process, asked: Asked) -> Any:
    """Adds two members and removes one."""
    add: dict[int, JsonObject] = {asked.target: {}, asked.target + 1: {"role": asked.token}}
    return await MembershipService(process, asked.context).change(asked.group, add=add, remove=[asked.target + 2])


PEOPLE: Final[Sequence[tuple[str, Act]]] = (
    ("create", create),
    ("create", create),
    ("create", create),
    ("put", put),
    ("put", put),
    ("patch", patch),
    ("patch", patch),
    ("patch", give_email),
    ("delete", delete),
    ("restore", restore),
    ("purge", purge),
    ("get", get),
)

GROUPWORK: Final[Sequence[tuple[str, Act]]] = (
    ("join", join),
    ("join", join),
    ("join", join),
    ("leave", leave),
    ("change members", change_members),
    ("change members", change_members),
    ("nest", nest),
    ("nest", nest),
    ("nest", nest),
    ("unnest", unnest),
    ("create group", create_group),
    ("create group", create_group),
    ("delete group", delete_group),
    ("delete group", delete_group),
    ("restore group", restore_group),
    ("restore group", restore_group),
    ("purge group", purge_group),
    ("create", create),
    ("delete", delete),
    ("delete", delete),
    ("restore", restore),
    ("purge", purge),
)

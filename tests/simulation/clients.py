"""The clients of a simulation: they send requests, try again as real ones do, and note what they were told."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.simulation.loop import simulated_loop
from tests.simulation.world import EPOCH, Lost, Process, World

from domain.changes import Change, ChangePage
from domain.entities import Entity
from domain.errors import Busy, Refusal, Uncertain
from domain.groups import NewGroup
from domain.idempotency import AlreadyDone, Committed, IdempotencyKey
from domain.lists.filters import Filter
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from repositories.memory.units import Tables
from services.changes import ChangeService
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

if TYPE_CHECKING:
    from domain.values import JsonObject

T = TypeVar("T")

ATTEMPTS: Final = 4
EMAILS: Final = ("a@x", "B@x", "b@X")
"""Few, and the last two are the same: clients compete for them."""

EXTERNAL_IDS: Final = ("e1", "e2")
NAMES: Final = ("a", "b", "c")
GROUPS: Final = (1, 2, 3)
"""The groups of these names, which all clients know."""

PEOPLE_AT_FIRST: Final = 3


class Outcome(StrEnum):
    OK = "ok"
    REPLAYED = "replayed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Attempt:
    """One request, and what its client knows of it afterwards."""

    request_id: str
    operation: str
    key: str | None
    is_dry_run: bool
    target: int
    """The user that is asked for; 0 for none."""

    expected: int | None
    known: int
    """The version of it that somebody had been told before this began."""

    outcome: Outcome = Outcome.UNKNOWN
    entity: Entity | None = None
    seq: int | None = None
    error: str = ""


@dataclass(slots=True)
class Client:
    world: World
    name: str
    attempts: list[Attempt]
    operations: "Sequence[tuple[str, Act]]"

    async def run(self, operations: int) -> None:
        for number in range(operations):
            await self._do(f"{self.name}.{number}")
            if self.world.random.random() < 1 / 4:
                await asyncio.sleep(self.world.random.random())

    async def _do(self, token: str) -> None:
        """One operation, sent again while its answer is lost or says so, if it is safe to."""
        random, world = self.world.random, self.world
        operation, act = self.operations[int(random.random() * len(self.operations))]
        writes = operation != "get"
        key = token + "-idempotency" if operation == "create" and random.random() < 1 / 2 else None
        is_dry_run = writes and random.random() < 1 / 8
        target = 1 + int(random.random() * max(1, len(world.acknowledged)))
        expected = world.acknowledged.get(target) if operation in CONDITIONAL and random.random() < 1 / 3 else None
        draws = (random.random(), random.random())
        for number in range(ATTEMPTS):
            request_id = f"{token}.{number}"
            attempt = Attempt(
                request_id, operation, key, is_dry_run, target, expected, world.acknowledged.get(target, 0)
            )
            self.attempts.append(attempt)
            context = RequestContext(
                actor=self.name,
                request_id=request_id,
                dry_run=is_dry_run,
                idempotency_key=IdempotencyKey(key, operation, as_answer) if key else None,
            )
            asked = Asked(context, target, None if expected is None else (expected,), token, draws)
            await self._try(attempt, lambda process: act(process, asked))  # noqa: B023  # at once
            done = attempt.outcome in (Outcome.OK, Outcome.REPLAYED)
            if done or not (attempt.error in AGAIN or (attempt.outcome is Outcome.UNKNOWN and is_safe(attempt))):
                return
            await asyncio.sleep(random.random())

    async def _try(self, attempt: Attempt, call: "Callable[[Process], Coroutine[Any, Any, Any]]") -> None:
        tell = self.world.tell
        if tell:
            tell(f"{attempt.request_id} {attempt.operation} {attempt.target or ''}")
        try:
            answer = await self.world.ask(call, attempt.request_id)
        except AlreadyDone as done:
            attempt.outcome, attempt.seq = Outcome.REPLAYED, int(done.answer)
        except (Lost, Uncertain):
            attempt.outcome = Outcome.UNKNOWN
        except Refusal as refused:
            attempt.outcome, attempt.error = Outcome.REFUSED, type(refused).__name__
        else:
            attempt.outcome = Outcome.OK
            if isinstance(answer, Committed):
                attempt.seq, answer = answer.seq, answer.result
            shown = answer[0] if isinstance(answer, tuple) else answer
            attempt.entity = shown if isinstance(shown, Entity) else None
            if isinstance(shown, User) and not attempt.is_dry_run:
                known = self.world.acknowledged
                known[shown.id] = max(shown.version, known.get(shown.id, 0))
        if tell:
            tell(f"{attempt.request_id} is told: {attempt.outcome} {attempt.error}")


CONDITIONAL: Final = frozenset({"put", "patch", "delete", "purge"})
"""The operations that can be asked to change one version only."""

AGAIN: Final = frozenset({Busy.__name__, "InFlight"})


def is_safe(attempt: Attempt) -> bool:
    """Whether it may be sent again when nobody knows whether it was carried out."""
    return attempt.key is not None or attempt.operation in ("put", "get", "purge")


def as_answer(committed: Committed[Any]) -> str:
    return str(committed.seq)


@dataclass(frozen=True, slots=True)
class Asked:
    context: RequestContext
    target: int
    expected: tuple[int, ...] | None
    token: str
    """Occurs nowhere else: it shows where a value has gone."""

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
    """Two come, and one goes."""
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


async def some_groups(units: MemoryUnitsOfWork) -> None:
    """Three groups, each a part of the one before, and three people, two of them members."""

    def context(request_id: str) -> RequestContext:
        return RequestContext(actor="first", request_id=request_id)

    for name in NAMES:
        await GroupService(units, context(f"group {name}")).create(NewGroup(name=name))
    for group, part in pairwise(GROUPS):
        await GroupService(units, context(f"part {part}")).nest(group, part)
    for number in range(PEOPLE_AT_FIRST):
        await UserService(units, context(f"user {number}")).create(NewUser(name=f"first {number}"))
    await MembershipService(units, context("members")).change(1, add={1: {}, 2: {}})


@cache
def tables_with_groups() -> Tables:
    units = MemoryUnitsOfWork(lambda: EPOCH)
    simulated_loop(Random(0)).run(some_groups(units))
    return units._tables


def begin_with_groups(world: World) -> None:
    world.database._tables.become(tables_with_groups().copy())
    world.acknowledged.update(dict.fromkeys(range(1, PEOPLE_AT_FIRST + 1), 1))


@dataclass(slots=True)
class Follower:
    """A reader of the feed, who goes on after the end of each page."""

    world: World
    filter: Filter | None
    seen: list[Change] = field(default_factory=list)
    _end: int = 0

    async def run(self) -> None:
        """Until everything is quiet and nothing is left."""
        context = RequestContext(actor="follower", request_id="follower")

        async def read_on(process: Process) -> ChangePage:
            within_s = 0 if self.world.is_quiet else 2
            changes = ChangeService(process, context)
            return await changes.wait(filter=self.filter, since=self._end, limit=3, within_s=within_s)

        while True:
            was_quiet = self.world.is_quiet
            with suppress(Lost, Refusal):
                page = await self.world.ask(read_on, "follower")
                self.seen += page.changes
                self._end = page.end
                if was_quiet and not page.changes:
                    return

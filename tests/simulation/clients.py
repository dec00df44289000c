"""The clients of a simulation: they send requests, try again as real ones do, and note what they were told."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from tests.simulation.world import Lost, Process, World

from domain.changes import Change, ChangePage
from domain.errors import Busy, Refusal, Uncertain
from domain.idempotency import AlreadyDone, Committed, IdempotencyKey
from domain.lists.filters import Filter
from domain.users import NewUser, User
from domain.work import RequestContext
from services.changes import ChangeService
from services.users import UserService

ATTEMPTS: Final = 4
EMAILS: Final = ("a@x", "B@x", "b@X")
"""Few, and the last two are the same: clients compete for them."""

EXTERNAL_IDS: Final = ("e1", "e2")


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
    user: User | None = None
    seq: int | None = None
    error: str = ""


@dataclass(slots=True)
class Client:
    world: World
    name: str
    attempts: list[Attempt]

    async def run(self, operations: int) -> None:
        for number in range(operations):
            await self._do(f"{self.name}.{number}")
            if self.world.random.random() < 1 / 4:
                await asyncio.sleep(self.world.random.random())

    async def _do(self, token: str) -> None:
        """One operation, sent again while its answer is lost or says so, if it is safe to."""
        random, world = self.world.random, self.world
        operation, act = OPERATIONS[int(random.random() * len(OPERATIONS))]
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
            asked = Asked(target, None if expected is None else (expected,), token, draws)
            await self._try(attempt, lambda process: act(UserService(process, context), asked))  # noqa: B023  # at once
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
            attempt.user = answer[0] if isinstance(answer, tuple) else answer
            if attempt.user is not None and not attempt.is_dry_run:
                known = self.world.acknowledged
                known[attempt.user.id] = max(attempt.user.version, known.get(attempt.user.id, 0))
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
    target: int
    expected: tuple[int, ...] | None
    token: str
    """Occurs nowhere else: it shows where a value has gone."""

    draws: tuple[float, float]

    @property
    def email(self) -> str | None:
        return pick(EMAILS, self.draws[0]) if self.draws[1] < 1 / 2 else None


def pick(among: tuple[str, ...], draw: float) -> str:
    return among[int(draw * len(among))]


Act = Callable[[UserService, Asked], Coroutine[Any, Any, Any]]


async def create(users: UserService, asked: Asked) -> Any:
    return await users.create(NewUser(name=asked.token, email=asked.email))


async def put(users: UserService, asked: Asked) -> Any:
    new = NewUser(name=asked.token, external_id=pick(EXTERNAL_IDS, asked.draws[0]))
    return await users.put(new, expected=asked.expected)


async def patch(users: UserService, asked: Asked) -> Any:
    return await users.patch(asked.target, {"name": asked.token}, expected=asked.expected)


async def give_email(users: UserService, asked: Asked) -> Any:
    return await users.patch(asked.target, {"email": asked.email}, expected=asked.expected)


async def delete(users: UserService, asked: Asked) -> Any:
    return await users.delete(asked.target, expected=asked.expected)


async def restore(users: UserService, asked: Asked) -> Any:
    return await users.restore(asked.target)


async def purge(users: UserService, asked: Asked) -> Any:
    return await users.purge(asked.target, expected=asked.expected)


async def get(users: UserService, asked: Asked) -> Any:
    return await users.get(asked.target)


OPERATIONS: Final[tuple[tuple[str, Act], ...]] = (
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

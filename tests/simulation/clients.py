"""The clients of a simulation: they send requests, retry as real ones do, and note the answers."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from tests.simulation.acts import Act, Asked
from tests.simulation.world import Lost, Process, World

from domain.changes import Change, ChangePage
from domain.entities import Entity
from domain.errors import Busy, Refusal, Uncertain
from domain.idempotency import AlreadyDone, Committed, IdempotencyKey
from domain.lists.filters import Filter
from domain.users import User
from domain.work import RequestContext
from services.changes import ChangeService

ATTEMPTS: Final = 4


class Outcome(StrEnum):
    OK = "ok"
    REPLAYED = "replayed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Attempt:
    """One request, and what its client knows about it afterwards."""

    request_id: str
    operation: str
    key: str | None
    is_dry_run: bool
    target: int
    """The id in the request; 0 for none."""

    expected: int | None
    known: int
    """The highest version of this entity that a client had seen before the request."""

    outcome: Outcome = Outcome.UNKNOWN
    entity: Entity | None = None
    seq: int | None = None
    error: str = ""

    def __str__(self) -> str:
        return f"{self.request_id} ({self.operation}, {self.outcome})"


@dataclass(slots=True)
class Client:
    world: World
    name: str
    attempts: list[Attempt]
    operations: Sequence[tuple[str, Act]]

    async def run(self, operations: int) -> None:
        for number in range(operations):
            await self._do(f"{self.name}.{number}")
            if self.world.random.random() < 1 / 4:
                await asyncio.sleep(self.world.random.random())

    async def _do(self, token: str) -> None:
        """One operation. It is retried while its answer is lost or asks for a retry, if this is safe."""
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

    async def _try(self, attempt: Attempt, call: Callable[[Process], Coroutine[Any, Any, Any]]) -> None:
        trace = self.world.trace
        if trace:
            trace(f"{attempt.request_id} {attempt.operation} {attempt.target or ''}")
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
        if trace:
            trace(f"{attempt.request_id} gets: {attempt.outcome} {attempt.error}")


CONDITIONAL: Final = frozenset({"put", "patch", "delete", "purge"})
"""The operations that can be asked to change one version only."""

AGAIN: Final = frozenset({Busy.__name__, "InFlight"})


def is_safe(attempt: Attempt) -> bool:
    """Whether it can be retried when nobody knows whether it was carried out."""
    return attempt.key is not None or attempt.operation in ("put", "get", "purge")


def as_answer(committed: Committed[Any]) -> str:
    return str(committed.seq)


@dataclass(slots=True)
class Follower:
    """A reader of the feed, which continues after the end of each page."""

    world: World
    filter: Filter | None
    begins_after: int
    """The number of the last change that was there before."""

    seen: list[Change] = field(default_factory=list)
    _end: int = 0

    def __post_init__(self) -> None:
        self._end = self.begins_after

    async def run(self) -> None:
        """Reads until nothing happens any more and no change is left."""
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

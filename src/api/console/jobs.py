"""Imports that run in the background: one for each key, in the process that received the file."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

import structlog

from api.files import reports
from api.files.reading import rows_in
from domain.errors import Refusal
from domain.imports import SERVER_BATCH, Counts, Done, Options, Outcome
from services.imports.runs import Import, Step
from services.imports.service import ImportService

SAMPLES: Final = 20
"""How many rows of each outcome a dry run shows."""

KEPT: Final = 16
"""How many imports are kept for all keys together. Each has a file."""

log = structlog.get_logger("roster")


class State(StrEnum):
    CHECKING = "checking"
    CHECKED = "checked"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """It was stopped for the reason in `reason`."""


GOING: Final = (State.CHECKING, State.RUNNING)


@dataclass(eq=False)
class Job:
    """A file, the result of its dry run, and the progress of its import. `total` is the number of rows, after they were
    counted."""

    name: str
    file: BinaryIO
    options: Options
    state: State = State.CHECKING
    counts: Counts = field(default_factory=Counts)
    total: int = 0
    samples: dict[Done, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    errors: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    report: BinaryIO = field(default_factory=TemporaryFile)
    began: float = 0
    ended: float | None = None
    task: asyncio.Task[None] | None = None
    place: ExitStack = field(default_factory=ExitStack)
    """The place of this import, which is taken while it runs."""

    @property
    def is_going(self) -> bool:
        return self.state in GOING

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    @property
    def rows_per_s(self) -> float:
        return self.counts.rows / self.seconds if self.seconds > 0 else 0

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.counts.rows) / self.rows_per_s if self.total and self.rows_per_s else None

    def begin(self, state: State, service: ImportService, done: State, place: AbstractContextManager[None]) -> None:
        """Take the place, and continue in the background. Raises `Busy` while too many imports are under way."""
        self.place.enter_context(place)
        self.state, self.counts, self.began, self.ended, self.reason = state, Counts(), time.monotonic(), None, ""
        self.errors.clear()
        self.task = asyncio.create_task(self._run(service, done))

    async def _run(self, service: ImportService, done: State) -> None:
        try:
            rows = await asyncio.to_thread(rows_in, self.file, None)
            one = Import(service, rows, self.options, batch=SERVER_BATCH)
            await self._go(one, self._sample if done is State.CHECKED else self._report)
            if self.is_going:
                self.state = done
        except Refusal as refusal:
            self.state, self.reason = State.STOPPED, refusal.detail
        except Exception:
            log.exception("an import failed")
            self.state, self.reason = State.STOPPED, "The server failed. Its log says why."
            raise
        finally:
            self.place.close()
            self.ended = time.monotonic()
            self.total = max(self.total, self.counts.rows)

    async def _go(self, one: Import, note: Callable[[Outcome], None]) -> None:
        steps: AsyncGenerator[Step] = one.steps()
        async with aclosing(steps):
            async for step in steps:
                for outcome in step.outcomes:
                    note(outcome)
                self.counts = one.counts
                if not self.is_going:
                    return

    def _sample(self, outcome: Outcome) -> None:
        if len(self.samples[outcome.done]) < SAMPLES:
            self.samples[outcome.done].append(reports.row(outcome))

    def _report(self, outcome: Outcome) -> None:
        self.report.write(reports.as_line(reports.row(outcome)))
        if outcome.done is Done.REJECTED and len(self.errors) < SAMPLES:
            self.errors.append(reports.row(outcome))

    def cancel(self) -> None:
        """End the import after the present step. What was stored stays stored."""
        if self.is_going:
            self.state = State.CANCELLED

    def close(self) -> None:
        self.file.close()
        self.report.close()


class Jobs:
    """The imports of a server, by the keys that uploaded them."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def of(self, actor: str) -> Job | None:
        return self._jobs.get(actor)

    def keep(self, actor: str, job: Job) -> None:
        self.discard(actor)
        idle = [each for each, other in self._jobs.items() if not other.is_going]
        if len(self._jobs) >= KEPT and idle:
            self.discard(idle[0])
        self._jobs[actor] = job

    def close(self) -> None:
        """End all imports after their present step, because the server stops."""
        for actor, job in list(self._jobs.items()):
            job.cancel()
            self.discard(actor)

    def discard(self, actor: str) -> None:
        with suppress(KeyError):
            self._jobs.pop(actor).close()

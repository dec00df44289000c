"""The world of a simulation: one database, some processes that serve it, and everything that can go wrong with them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar

from domain.errors import Busy, Contended, Uncertain
from domain.idempotency import Committed
from domain.work import ReadingUnit, RequestContext, UnitOfWork
from repositories.fake import MemoryUnitsOfWork

T = TypeVar("T")

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
FAULTS: Final = ("it is slow", "contended", "busy", "its client goes away", "its process dies")
PROCESSES: Final = 2
MAX_DEATHS: Final = 2


@dataclass(slots=True)
class World:
    random: Random
    fault_rate: float
    """The share of steps at which something goes wrong."""

    process: "type[Process]"
    tell: Callable[[str], None] | None = None
    """Is told each step, when a schedule is to be printed."""

    processes: list["Process"] = field(default_factory=list)
    database: MemoryUnitsOfWork = field(default_factory=MemoryUnitsOfWork)
    acknowledged: dict[int, int] = field(default_factory=dict)
    """The highest version of each user that some client was told."""

    is_quiet: bool = False
    """Nothing goes wrong any more."""

    _serve: "Callable[[Process, int], None] | None" = None
    _started: int = 0
    _clock_is_off_by: timedelta = timedelta()
    _deaths: int = 0

    def __post_init__(self) -> None:
        self.processes = [self.process(self) for _ in range(PROCESSES)]

    def serve_with(self, serve: "Callable[[Process, int], None]") -> None:
        """What each process does beside its requests, and each that takes the place of one that died."""
        self._serve = serve
        for process in self.processes:
            self._begin(process)

    def _begin(self, process: "Process") -> None:
        if self._serve is not None:
            self._started += 1
            self._serve(process, self._started)

    def clock(self) -> datetime:
        """The time of day. It jumps back and forth."""
        if not self.is_quiet and self.random.random() < self.fault_rate:
            self._clock_is_off_by = timedelta(hours=self.random.randrange(-30, 31))
        return EPOCH + self._clock_is_off_by + timedelta(seconds=asyncio.get_running_loop().time())

    async def step(self, process: "Process", what: str) -> None:
        """Let others run, and perhaps let something go wrong.

        Raises `Contended` or `Busy`, or cancels the request: its client went away, or the process died.
        """
        if self.tell:
            self.tell(what)
        draw = self.random.random()
        if draw < 1 / 2:
            await asyncio.sleep(0)
        if self.is_quiet or draw >= self.fault_rate:
            return
        fault = self.random.randrange(10)
        if self.tell:
            self.tell(f"{what}: {FAULTS[fault // 2]}")
        if fault < 2:
            await asyncio.sleep(self.random.random())
        elif fault < 4:
            raise Contended("simulated")
        elif fault < 6:
            raise Busy("simulated")
        elif fault < 8:
            current = asyncio.current_task()
            if current in process.requests:
                current.cancel()
                await asyncio.sleep(0)
        else:
            self._die(process)
            await asyncio.sleep(0)

    def _die(self, process: "Process") -> None:
        if self._deaths < MAX_DEATHS and process in self.processes:
            self._deaths += 1
            self.kill(process)

    def kill(self, process: "Process") -> None:
        """All that a process had in hand is gone. Another one takes its place."""
        self.processes[self.processes.index(process)] = new = self.process(self)
        process.die()
        self._begin(new)

    async def ask(self, call: "Callable[[Process], Coroutine[Any, Any, T]]", what: str) -> T:
        """A request of a client to some process. Raises `Lost` if its answer is lost."""
        process = self.processes[int(self.random.random() * len(self.processes))]
        request = asyncio.get_running_loop().create_task(self._answer(process, call, what))
        process.requests[request] = None
        try:
            return await request
        except asyncio.CancelledError:
            raise Lost from None
        finally:
            process.requests.pop(request, None)

    async def _answer(self, process: "Process", call: "Callable[[Process], Coroutine[Any, Any, T]]", what: str) -> T:
        answer = await call(process)
        with suppress(Contended, Busy):  # this is not a step of the database
            await self.step(process, f"{what} answers")
        return answer


class Lost(Exception):
    """No answer came: the request may have been carried out or not."""


class Process(MemoryUnitsOfWork):
    """A server process on the database of the world. What it keeps in memory is its own."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.requests: dict[asyncio.Task[Any], None] = {}  # in their order: that of a set is another in each run
        self._jobs: list[asyncio.Task[Any]] = []
        self._world = world
        self._tables = world.database._tables
        self._write_lock = world.database._write_lock

    async def step(self, what: str) -> None:
        await self._world.step(self, what)

    def run_beside(self, job: Coroutine[Any, Any, None]) -> None:
        """Begin what it does beside its requests, until it dies."""
        self._jobs.append(asyncio.get_running_loop().create_task(job))

    def die(self) -> None:
        for each in (*self.requests, *self._jobs):
            each.cancel()

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[ReadingUnit]:  # type: ignore[override]  # the stores, a step at a time
        async with super().reading(context) as work:
            yield Stepped(work, self, "read")

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[UnitOfWork]:  # type: ignore[override]
        await self.step(f"{context.request_id} begins")
        async with super().writing(context) as work:
            yield SteppedUnit(work, self, context.request_id)

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(0.1 * attempt)


class Stepped:
    """The stores of a unit, or one store: each call is a step."""

    def __init__(self, inner: Any, process: Process, who: str) -> None:
        self._inner = inner
        self._process = process
        self._who = who

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return Stepped(found, self._process, self._who)

        async def stepped(*args: Any, **kwargs: Any) -> Any:
            await self._process.step(f"{self._who} {name}")
            return await found(*args, **kwargs)

        return stepped


class SteppedUnit(Stepped):
    @property
    def now(self) -> datetime:
        now: datetime = self._inner.now
        return now

    async def commit(self, result: T) -> Committed[T]:
        """A connection may break in mid-commit: then nobody knows."""
        await self._process.step(f"{self._who} commits")
        world = self._process._world
        breaks = not world.is_quiet and world.random.random() < world.fault_rate / 2
        if breaks and world.random.random() < 1 / 2:
            raise Uncertain("simulated")
        committed: Committed[T] = await self._inner.commit(result)
        if breaks:
            raise Uncertain("simulated")
        return committed

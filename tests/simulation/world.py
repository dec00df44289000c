"""The world of a simulation: one database, some processes that serve it, and all their possible failures."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from inspect import iscoroutinefunction
from random import Random
from types import coroutine
from typing import Any, Final, Self, TypeVar, cast

from domain.entities import Entity
from domain.errors import Busy, Contended, Uncertain
from domain.idempotency import Committed
from domain.stores import Store
from domain.users import User
from domain.work import RequestContext, UnitOfWork
from repositories.fake import MemoryUnitsOfWork
from repositories.memory.units import MemoryReading, Tables

T = TypeVar("T")
N = TypeVar("N")
E = TypeVar("E", bound=Entity)

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
    tables: Tables
    """The database."""

    trace: Callable[[str], None] | None = None
    """Called with each step, to print the schedule."""

    processes: list["Process"] = field(init=False)
    write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    acknowledged: dict[int, int] = field(init=False)
    """The highest version of each user that a client has seen."""

    is_quiet: bool = False
    """Whether failures have ended."""

    _serve: "Callable[[Process, int], None] | None" = None
    _started: int = 0
    _clock_is_off_by: timedelta = timedelta()
    _deaths: int = 0

    def __post_init__(self) -> None:
        users = self.tables.rows[User.kind].by_id
        self.acknowledged = {id: user.version for id, user in users.items()}
        self.processes = [self.process(self) for _ in range(PROCESSES)]

    def serve_with(self, serve: "Callable[[Process, int], None]") -> None:
        """Starts a background task in each process, and in each that replaces a dead one."""
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

    async def step(self, process: "Process", who: str, what: str) -> None:
        """Let others run, and perhaps let something go wrong.

        Raises `Contended` or `Busy`, or cancels the request: its client went away, or the process died.
        """
        if self.trace:
            self.trace(f"{who} {what}")
        draw = self.random.random()
        if draw < 1 / 2:
            await others()
        if draw < self.fault_rate and not self.is_quiet:
            await self._fail(process, who, what)

    async def _fail(self, process: "Process", who: str, what: str) -> None:
        fault = self.random.randrange(10)
        if self.trace:
            self.trace(f"{who} {what}: {FAULTS[fault // 2]}")
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
                await others()
        else:
            self._die(process)
            await others()

    def _die(self, process: "Process") -> None:
        if self._deaths < MAX_DEATHS and process in self.processes:
            self._deaths += 1
            self.kill(process)

    def kill(self, process: "Process") -> None:
        """All work of the process is lost. Another process replaces it."""
        self.processes[self.processes.index(process)] = new = self.process(self)
        process.die()
        self._begin(new)

    async def ask(self, call: "Callable[[Process], Coroutine[Any, Any, T]]", what: str) -> T:
        """A request of a client to some process. Raises `Lost` if its answer is lost.

        The task of the client does what the process would do in another one: this takes a tenth less time, and the
        request can be cancelled without its client.
        """
        process = self.processes[int(self.random.random() * len(self.processes))]
        task = asyncio.current_task()
        assert task is not None
        process.requests[task] = None
        try:
            answer = await call(process)
            with suppress(Contended, Busy):  # this is not a step of the database
                await self.step(process, what, "answers")
        except asyncio.CancelledError:
            while task.uncancel():
                pass
            raise Lost from None
        else:
            return answer
        finally:
            process.requests.pop(task, None)


@coroutine
def others() -> Generator[None]:
    """Lets other tasks run: a faster `asyncio.sleep(0)`."""
    yield


class Lost(Exception):
    """No answer came: the request may have been carried out or not."""


class Process(MemoryUnitsOfWork):
    """A server process on the database of the world, with a memory of its own."""

    tables = ()  # it uses those of the world

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.requests: dict[asyncio.Task[Any], None] = {}  # in their order: that of a set is another in each run
        self._jobs: list[asyncio.Task[Any]] = []
        self.world = world
        self._tables = world.tables
        self._write_lock = world.write_lock

    def run_beside(self, job: Coroutine[Any, Any, None]) -> None:
        """Starts a background task, which runs until the process dies."""
        self._jobs.append(asyncio.get_running_loop().create_task(job))

    def die(self) -> None:
        for each in (*self.requests, *self._jobs):
            each.cancel()

    def reading(self, context: RequestContext | None = None) -> Any:
        return Stepped(self.reading_unit(MemoryReading(self._tables)), self, "read")

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[UnitOfWork]:  # type: ignore[override]
        await self.world.step(self, context.request_id, "begins")
        async with super().writing(context) as work:
            yield cast("UnitOfWork", SteppedUnit(work, self, context.request_id))

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(0.1 * attempt)


class SteppedStore:
    """A store: each call is a step."""

    def __init__(self, inner: Any, process: Process, who: str) -> None:
        self.inner = inner
        self.process = process
        self.who = who


class Stepped(SteppedStore):
    """The stores of a unit."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Nothing to close."""

    def __getattr__(self, name: str) -> SteppedStore:
        store = getattr(self.inner, name)
        kind: Any = type(store)
        steps = steps_of(kind)(store, self.process, self.who)
        setattr(self, name, steps)
        return steps


@cache
def steps_of(kind: Any) -> type[SteppedStore]:
    """The stores of a kind, with their methods as steps."""
    calls: dict[str, Any] = {name: stepped(name) for name in dir(kind) if iscoroutinefunction(getattr(kind, name))}
    return type(f"Stepped{kind.__name__}", (SteppedStore,), calls)


def stepped(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def step(self: SteppedStore, *args: Any, **kwargs: Any) -> Any:
        await self.process.world.step(self.process, self.who, name)
        return await getattr(self.inner, name)(*args, **kwargs)

    return step


class SteppedUnit(Stepped):
    @property
    def now(self) -> datetime:
        now: datetime = self.inner.now
        return now

    async def commit(self, result: T) -> Committed[T]:
        """A connection may break during the commit. Then nobody knows whether it was committed."""
        world = self.process.world
        await world.step(self.process, self.who, "commits")
        breaks = not world.is_quiet and world.random.random() < world.fault_rate / 2
        if breaks and world.random.random() < 1 / 2:
            raise Uncertain("simulated")
        committed: Committed[T] = await self.inner.commit(result)
        if breaks:
            raise Uncertain("simulated")
        return committed

    async def commit_new(self, store: Store[N, E], new: N) -> Committed[E]:
        return await self.commit(await store.add(new))

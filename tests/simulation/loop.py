"""An event loop for simulations: a seed decides what runs next, and time passes only when nothing else can."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from itertools import count
from random import Random
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(Exception):
    """Somebody waits, and nothing is left that could wake them."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Real loops run callbacks in the order in which they were scheduled. This one draws the next one by lot, so that
    each seed is another order. It has no files and no sockets.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._now = 0.0
        self.failures: list[dict[str, Any]] = []

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. Raises `Deadlock`."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while self._ready or not task.done():  # what was cancelled at the end comes to its end
                self._run_one()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _run_one(self) -> None:
        ready = self._ready
        if not ready:
            if not self._timers:
                raise Deadlock
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                timer._run()
            return
        chosen = int(self._random.random() * len(ready))
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        handle = ready.pop()
        if not handle.cancelled():
            handle._run()

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is dropped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        return SimulatedTask(coro, loop=self, name=name, context=context)

    def next_number(self) -> int:
        return next(self._numbers)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False


class SimulatedTask(asyncio.Task[T]):
    """Sets of tasks, as in task groups, have the same order in each run of a seed: that of the tasks' numbers."""

    _number: int

    def __new__(cls, *args: Any, loop: SimulatedLoop, **options: Any) -> Self:
        task: Self = super().__new__(cls)
        task._number = loop.next_number()
        return task

    def __hash__(self) -> int:
        return self._number


def simulated_loop(random: Random) -> SimulatedLoop:
    loop: SimulatedLoop = cast("Any", SimulatedLoop)(random)  # it leaves out what needs files and sockets
    return loop

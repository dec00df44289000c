"""An event loop for simulations: a seed decides what runs next, and time passes only when nothing else can."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from itertools import count
from random import Random
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(Exception):
    """A task waits, and nothing is left that could wake it."""


class Scheduled:
    """A scheduled callback: what tasks and timers need of `asyncio.Handle`, at a third of the cost."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = context or copy_context()
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Real loops run callbacks in the order in which they were scheduled. This one draws the next at random, so that
    each seed is another order. It has no files and no sockets.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: list[Scheduled] = []
        self._timers: list[tuple[float, int, Scheduled]] = []
        self._numbers = count()
        self._now = 0.0
        self.failures: list[dict[str, Any]] = []

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. Raises `Deadlock`."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while self._ready or not task.done():  # what was cancelled at the end comes to its end
                next_one = self._drawn() if self._ready else self._next_timer()
                if not next_one.is_cancelled:
                    self._run(next_one)
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _drawn(self) -> Scheduled:
        ready = self._ready
        if len(ready) > 1:
            chosen = int(self._random.random() * len(ready))
            ready[chosen], ready[-1] = ready[-1], ready[chosen]
        return ready.pop()

    def _next_timer(self) -> Scheduled:
        if not self._timers:
            raise Deadlock
        self._now, _, timer = heapq.heappop(self._timers)
        return timer

    def _run(self, scheduled: Scheduled) -> None:
        try:
            scheduled.context.run(scheduled.callback, *scheduled.args)
        except Exception as failure:
            self.failures.append({"message": f"{scheduled.callback} failed", "exception": failure})

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Scheduled:
        scheduled = Scheduled(callback, args, context)
        self._ready.append(scheduled)
        return scheduled

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Scheduled:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Scheduled:
        timer = Scheduled(callback, args, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

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

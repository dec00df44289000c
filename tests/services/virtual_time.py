"""An event loop whose clock jumps to the next timer when nothing else can run: days pass in milliseconds."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Final, ParamSpec

P = ParamSpec("P")

START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        own: Any = self
        if not own._ready and own._scheduled:
            self._now = max(self._now, own._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def monotonic() -> float:
    return asyncio.get_running_loop().time()


def clock() -> datetime:
    return START + timedelta(seconds=monotonic())


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop of its own, whose time is virtual."""

    @wraps(test)
    def run(*args: P.args, **given: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **given))

    return run


async def settled() -> None:
    """Return when all that can be done now was done."""
    await asyncio.sleep(0.001)

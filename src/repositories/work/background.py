"""Work that no request waits for. It is begun by a request or by the clock, and ends with the server's stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

log = logging.getLogger("roster")

AGAIN_AFTER_S: Final = 0.5
"""How long to wait before a job that is not done is tried again. It doubles each time, up to `SELDOM_S`."""

SELDOM_S: Final = 30
GIVES_WAY_FOR_S: Final = 60


class Background:
    """Tasks whose errors are logged, and which are cancelled by `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, job: Callable[[], Awaitable[None]], what: str) -> None:
        self._start(guarded(job, what))

    def every(self, seconds: float, job: Callable[[], Awaitable[None]], what: str, *, at_once: bool = False) -> None:
        """Run it again and again, first after so many seconds, or at once."""

        async def again_and_again() -> None:
            if at_once:
                await guarded(job, what)
            while True:
                await asyncio.sleep(seconds)
                await guarded(job, what)

        self._start(again_and_again())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def guarded(job: Callable[[], Awaitable[None]], what: str) -> None:
    try:
        await job()
    except Exception:
        log.warning("%s failed", what, exc_info=True)


class Scrubbing:
    """Removes what was erased from the database's files. Several erasures share one pass, repeated until it is done.

    `scrub` returns whether nothing is left. It gives way to other writers for `GIVES_WAY_FOR_S`, then no longer: among
    writers that never pause it would never be done.
    """

    def __init__(self, scrub: Callable[..., Awaitable[bool]], background: Background) -> None:
        self._scrub = scrub
        self._background = background
        self._erased = 0
        self._removed = 0
        self._over = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        return self._removed == self._erased

    def erased(self) -> None:
        """Something was erased just now."""
        self._erased += 1
        if self._erased == self._removed + 1:
            self._over.clear()
            self._background.run(self._scrub_all, "removing erased rows from the files")

    async def _scrub_all(self) -> None:
        wait_s = AGAIN_AFTER_S
        began = time.monotonic()
        while self._removed < self._erased:
            aim = self._erased
            if await self._scrub(gives_way=time.monotonic() - began < GIVES_WAY_FOR_S):
                self._removed = aim
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, SELDOM_S)
        self._over.set()

    async def is_over(self, within_s: float) -> bool:
        """Whether nothing is left that was erased until now, within so many seconds."""
        if self._removed < self._erased:
            try:
                async with asyncio.timeout(within_s):
                    await self._over.wait()
            except TimeoutError:
                return False
        return True

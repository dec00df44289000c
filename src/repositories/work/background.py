"""Background tasks, for which no request waits. A request or a timer starts them, and the stop of the server ends
them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from repositories.engines.upkeep.scrubbing import Scrubbed

log = logging.getLogger("roster")

AGAIN_AFTER_S: Final = 0.5
"""The wait before an unfinished job is tried again. It doubles each time, up to `SELDOM_S`."""

SELDOM_S: Final = 30
GIVES_WAY_FOR_S: Final = 60


class Background:
    """Background tasks. Their errors are logged, and `stop` cancels them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, job: Callable[[], Awaitable[None]], what: str) -> None:
        self._start(guarded(job, what))

    def every(self, seconds: float, job: Callable[[], Awaitable[None]], what: str, *, at_once: bool = False) -> None:
        """Run a job repeatedly, the first time after so many seconds, or at once."""

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
    """Removes erased values from the files of the database. Several erasures share one pass, which is repeated until it
    is done.

    For `GIVES_WAY_FOR_S` it lets other writers go first. After that it may
    not, because it would never finish if writers never pause.
    """

    def __init__(self, scrub: Callable[..., Awaitable[Scrubbed]], background: Background) -> None:
        self._scrub = scrub
        self._background = background
        self._erased = 0
        self._removed = 0
        self._result = Scrubbed.ALL
        self._over = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        return self._removed == self._erased

    def erased(self) -> None:
        """Called after an erasure."""
        self._erased += 1
        if self._erased == self._removed + 1:
            self._over.clear()
            self._background.run(self._scrub_all, "removing erased rows from the files")

    async def _scrub_all(self) -> None:
        wait_s = AGAIN_AFTER_S
        began = time.monotonic()
        while self._removed < self._erased:
            aim = self._erased
            self._result = await self._scrub(gives_way=time.monotonic() - began < GIVES_WAY_FOR_S)
            if self._result is not Scrubbed.NOT_YET:
                self._removed = aim
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, SELDOM_S)
        self._over.set()

    async def is_over(self, within_s: float) -> bool:
        """Wait for up to so many seconds. Returns whether nothing is left of what was erased until now."""
        if self._removed < self._erased:
            try:
                async with asyncio.timeout(within_s):
                    await self._over.wait()
            except TimeoutError:
                return False
        return self._result is Scrubbed.ALL

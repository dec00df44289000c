"""A lock with a time-out, for a connection that only one task at a time may use."""

import asyncio
import time

from domain.errors import Busy
from repositories.engines.meter import Meter, Pool
from repositories.engines.queues import Queue


class TimedLock:
    """A lock that tasks get in the order in which they ask for it. They wait at most for the time-out.

    If the queue is so long that the wait would exceed the time-out, a task is refused at once.
    """

    def __init__(self, pool: Pool, timeout_s: float, meter: Meter, refusal: str) -> None:
        self._pool: Pool = pool
        self._timeout_s = timeout_s
        self._meter = meter
        self._refusal = refusal
        self._lock = asyncio.Lock()
        self._queue = Queue(1, timeout_s)
        self._waiting_since = 0.0
        self._held_since = 0.0

    def has_waited(self, seconds: float) -> bool:
        """Whether a task has been waiting for so long. May be called from any thread."""
        return self._queue.waiting > 0 and time.perf_counter() - self._waiting_since > seconds

    async def acquire(self) -> None:
        """Raises `Busy` after the time-out, or at once if the queue is too long."""
        if self._queue.is_too_long:
            raise Busy(self._refusal)
        started = time.perf_counter()
        if not self._queue.waiting:
            self._waiting_since = started
        self._queue.waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise Busy(self._refusal) from None
        finally:
            self._queue.waiting -= 1
            self._held_since = time.perf_counter()
            self._meter.waited(self._pool, self._held_since - started)
        self._meter.in_use(self._pool, 1)

    def release(self) -> None:
        self._queue.held(time.perf_counter() - self._held_since)
        self._meter.in_use(self._pool, -1)
        self._lock.release()

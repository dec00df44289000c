"""A lock with a time-out, for a connection that only one task at a time may use."""

import asyncio
import time

from domain.errors import Busy
from repositories.engines.meter import Meter, Pool


class TimedLock:
    """A lock that tasks get in the order in which they ask for it. They wait at most for the time-out."""

    def __init__(self, pool: Pool, timeout_s: float, meter: Meter, refusal: str) -> None:
        self._pool: Pool = pool
        self._timeout_s = timeout_s
        self._meter = meter
        self._refusal = refusal
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._waiting_since = 0.0

    def has_waited(self, seconds: float) -> bool:
        """Whether a task has been waiting for so long. May be called from any thread."""
        return self._waiting > 0 and time.perf_counter() - self._waiting_since > seconds

    async def acquire(self) -> None:
        """Raises `Busy` after the time-out."""
        started = time.perf_counter()
        if not self._waiting:
            self._waiting_since = started
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise Busy(self._refusal) from None
        finally:
            self._waiting -= 1
            self._meter.waited(self._pool, time.perf_counter() - started)
        self._meter.in_use(self._pool, 1)

    def release(self) -> None:
        self._meter.in_use(self._pool, -1)
        self._lock.release()

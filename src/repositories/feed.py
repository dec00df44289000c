"""Waiting for changes. All who wait together cost one query, a few times a second."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from domain.errors import Refusal

LOOK_EVERY_S: Final = 0.25
"""How late a change by another process may be noticed. One by this process is noticed at once."""


class Feed:
    """Knows the highest sequence number that was committed. Looks it up only while somebody waits."""

    def __init__(self, look_up: Callable[[], Awaitable[int]]) -> None:
        self._look_up = look_up
        self._head = 0
        self._news = asyncio.Event()
        self._waiting = 0
        self._watch: asyncio.Task[None] | None = None
        self._released = False

    def committed(self, seq: int) -> None:
        if seq > self._head:
            self._head = seq
            self._wake()

    def release(self) -> None:
        """End all waits, and those that begin later."""
        self._released = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def wait_beyond(self, since: int, within_s: float) -> float:
        """Return when there is a change with a higher number than `since`, with the seconds that are left then."""
        now = asyncio.get_running_loop().time
        end = now() + within_s
        with self._watched(), suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while self._head <= since and not self._released:
                    await self._news.wait()
        return 0 if self._released else max(0, end - now())

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._waiting += 1
        if self._watch is None:
            self._watch = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._watch.cancel()
                self._watch = None

    async def _poll(self) -> None:
        while True:
            with suppress(Refusal):  # each waiter gets the refusal from its own query
                self.committed(await self._look_up())
            await asyncio.sleep(LOOK_EVERY_S)

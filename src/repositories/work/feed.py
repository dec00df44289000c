"""Waiting for changes. All waiting requests share one query after each commit, and one a few times a second.

A task, the look-out, reads new changes and compares them with the filters of all waits. So a change wakes only the
requests that asked for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from domain.changes import Change
from domain.limits import Limits
from domain.lists.filters import Filter, matches
from repositories.work.places import Places

LOOK_EVERY_S: Final = 0.25
"""How late a change by another process may be noticed. A change by this process is noticed at once."""

READ_AT_ONCE: Final = 100
"""How many changes the look-out reads at once, and so has in memory."""

log = logging.getLogger("roster")


@dataclass(slots=True, eq=False)
class Wait:
    since: int
    filter: Filter | None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def is_for(self, change: Change) -> bool:
        return change.seq > self.since and matches(self.filter, change)


class Feed:
    """All waits for changes, and the look-out, which runs while there are any.

    `read` returns up to `READ_AT_ONCE` changes after a number, in their order.
    """

    def __init__(self, read: Callable[[int], Awaitable[Sequence[Change]]], limits: Limits) -> None:
        self._read = read
        self._places = Places(
            limits.waits, limits.waits_per_key, "Too many requests wait for changes. Try again later."
        )
        self._waits: dict[Wait, None] = {}  # a set that keeps their order
        self._seen = 0
        self._news = asyncio.Event()
        self._look_out: asyncio.Task[None] | None = None
        self._released = False

    def committed(self, seq: int) -> None:
        if seq > self._seen:
            self._news.set()

    def release(self) -> None:
        """End all waits, including those that begin later."""
        self._released = True
        for wait in self._waits:
            wait.over.set()

    async def wait_beyond(self, since: int, within_s: float, filter: Filter | None, caller: str) -> float:
        """Wait until there is a change that matches and has a higher number than `since`, for at most `within_s`
        seconds.

        Returns the seconds that are left. Raises `Busy` while too many requests wait.
        """
        now = asyncio.get_running_loop().time
        end = now() + within_s
        if not self._released:
            with self._places.one(caller), self._told_of(Wait(since, filter)) as wait, suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await wait.over.wait()
        return 0 if self._released else max(0, end - now())

    @contextmanager
    def _told_of(self, wait: Wait) -> Iterator[Wait]:
        self._waits[wait] = None
        if self._look_out is None:
            self._seen = wait.since
            self._look_out = asyncio.create_task(self._look())
        elif wait.since < self._seen:  # there may be a change since the caller looked
            self._seen = wait.since
            self._news.set()
        try:
            yield wait
        finally:
            del self._waits[wait]
            if not self._waits:
                self._look_out.cancel()
                self._look_out = None

    async def _look(self) -> None:
        """Read new changes. Errors do not end it: waiting requests get the change when the database answers again."""
        failed = False
        while True:
            self._news.clear()
            try:
                await self._tell_news()
                failed = False
            except Exception:
                if not failed:
                    log.warning("new changes cannot be read", exc_info=True)
                failed = True
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()

    async def _tell_news(self) -> None:
        seen = self._seen
        while changes := await self._read(seen):
            if self._seen >= seen:  # otherwise a new wait from an earlier number began meanwhile
                self._seen = changes[-1].seq
                self._tell(changes)
            seen = self._seen

    def _tell(self, changes: Sequence[Change]) -> None:
        for wait in self._waits:
            if any(wait.is_for(change) for change in changes):
                wait.over.set()

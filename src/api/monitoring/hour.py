"""The requests of the last hour in one process: their number in each minute, and their durations."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

MINUTES: Final = 60
CLASSES: Final = 6
"""Statuses are counted by their first digit; 0 means no status."""

BOUNDS: Final = tuple(0.0005 * 1.25**step for step in range(50))
"""Upper bounds of the classes in which durations are counted, in seconds, up to half a minute. Each is 25 % above the
one before."""

WAITS: Final = frozenset({"list_changes", "list_user_changes", "console_new_changes"})
"""Operations that may wait for new changes. Their durations mean nothing, and are not counted."""


@dataclass(slots=True)
class Minute:
    number: int = -1
    statuses: list[int] = field(default_factory=lambda: [0] * CLASSES)
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


class LastHour:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ring = [Minute() for _ in range(MINUTES)]

    def ended(self, operation: str, status: int, seconds: float) -> None:
        minute = self._minute()
        minute.statuses[min(status // 100, CLASSES - 1)] += 1
        if operation not in WAITS:
            minute.times[bisect_left(BOUNDS, seconds)] += 1

    def per_minute(self) -> Sequence[Sequence[int]]:
        """For each of the last 60 minutes, the present one last, the number of requests by the first digit of the
        status."""
        now = self._now()
        by_number = {minute.number: minute.statuses for minute in self._ring}
        return [by_number.get(number, [0] * CLASSES) for number in range(now - MINUTES + 1, now + 1)]

    def p95_s(self) -> float | None:
        """The time within which 95 % of the requests were answered; None if there were none."""
        oldest = self._now() - MINUTES
        recent = [minute.times for minute in self._ring if minute.number > oldest]
        times = [sum(column) for column in zip(*recent, strict=True)]
        wanted, seen = 0.95 * sum(times), 0
        for bound, count in zip((*BOUNDS, BOUNDS[-1]), times, strict=False):
            seen += count
            if count and seen >= wanted:
                return bound
        return None

    def _now(self) -> int:
        return int(self._clock() // 60)

    def _minute(self) -> Minute:
        now = self._now()
        minute = self._ring[now % MINUTES]
        if minute.number != now:
            minute = self._ring[now % MINUTES] = Minute(now)
        return minute

"""Queues for connections: nobody waits who could not be served in time."""

from typing import Final

WEIGHT: Final = 0.1
"""Of the last holder in the average."""


class Queue:
    """Those who wait for one of some connections, and how long each is held on average.

    Who would wait in vain is refused at once: he can ask elsewhere, or later, and costs those before him nothing.
    """

    def __init__(self, places: int, timeout_s: float) -> None:
        self.waiting = 0
        self._places = places
        self._timeout_s = timeout_s
        self._held_s = 0.0

    @property
    def is_too_long(self) -> bool:
        """Whether one more would probably wait longer than the time-out."""
        return self.waiting * self._held_s > self._timeout_s * self._places

    def held(self, seconds: float) -> None:
        """So long somebody had a connection."""
        self._held_s += (seconds - self._held_s) * WEIGHT

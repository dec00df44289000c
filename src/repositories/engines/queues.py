"""Queues for connections: a request that would probably wait too long is refused at once."""

from typing import Final

WEIGHT: Final = 0.1
"""The weight of the last holder in the average."""


class Queue:
    """The number of tasks that wait for a connection, and how long a connection is held on average.

    A request that would wait in vain is refused at once. So its client can try another server, or try later, and the
    request does not slow others down.
    """

    def __init__(self, places: int, timeout_s: float) -> None:
        self.waiting = 0
        self._places = places
        self._timeout_s = timeout_s
        self._held_s = 0.0

    @property
    def is_too_long(self) -> bool:
        """Whether another task would probably wait longer than the time-out."""
        return self.waiting * self._held_s > self._timeout_s * self._places

    def held(self, seconds: float) -> None:
        """Note how long a task has held a connection, in seconds."""
        self._held_s += (seconds - self._held_s) * WEIGHT

"""Leases: with one, a process does what only one process at a time may do.

Nobody compares clocks. A holder beats again and again. Another process takes the lease over when it has seen no beat
for a while, by its own clock.
"""

from dataclasses import dataclass
from typing import Final, Protocol

LOST: Final = "Another process holds the lease."


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds it, and how often it has beaten."""

    holder: str
    beats: int


class ReadLeases(Protocol):
    async def find(self, name: str) -> Lease | None:
        """The lease of this name; None if nobody ever held it, or if it was given back."""
        ...


class Leases(ReadLeases, Protocol):
    async def take(self, name: str, holder: str, seen: Lease | None) -> bool:
        """Take the lease, if it still is as it was seen. False if another process came first."""
        ...

    async def beat(self, name: str, holder: str) -> None:
        """Beat once. No other unit can take the lease before this one ends.

        Raises `Stale`, by the commit at the latest, if somebody else holds it.
        """
        ...

    async def give_back(self, name: str, holder: str) -> None:
        """Give the lease back, if this holder still has it."""
        ...

"""Leases: the holder of a lease may do what only one process at a time may do.

The clocks of machines are not compared. The holder renews the lease regularly (it *beats*). Another process takes the
lease over when it has seen no beat for some time, by its own clock.
"""

from dataclasses import dataclass
from typing import Final, Protocol

LOST: Final = "Another process holds the lease."


@dataclass(frozen=True, slots=True)
class Lease:
    """The holder, and the number of its beats."""

    holder: str
    beats: int


class ReadLeases(Protocol):
    async def find(self, name: str) -> Lease | None:
        """The lease with this name; None if nobody has held it yet, or if it was given back."""
        ...


class Leases(ReadLeases, Protocol):
    async def take(self, name: str, holder: str, seen: Lease | None) -> bool:
        """Take the lease, if it has not changed since it was `seen`. Returns False if another process was faster."""
        ...

    async def beat(self, name: str, holder: str) -> None:
        """Renew the lease. No other unit can take it before this one ends.

        Raises `Stale`, at the latest in the commit, if another process holds it.
        """
        ...

    async def give_back(self, name: str, holder: str) -> None:
        """Give the lease back, if this holder still has it."""
        ...

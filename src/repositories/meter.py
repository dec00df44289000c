"""What a database tells of its work while it does it. It does not know who keeps count, nor whether anybody does."""

import time
from typing import Final, Literal, Protocol

Kind = Literal["read", "scan", "write", "commit"]
"""What kept a caller waiting: a statement of one of three sorts, or a COMMIT."""

Pool = Literal["read", "write", "stream"]


class Meter(Protocol):
    """Called for each statement, so it has to be cheap; and from one thread."""

    def took(self, kind: Kind, seconds: float) -> None:
        """It came to its end, good or bad, after this time."""
        ...

    def waited(self, pool: Pool, seconds: float) -> None:
        """So long for a connection, whether there was one in the end or not."""
        ...

    def in_use(self, pool: Pool, change: int) -> None:
        """So many more connections are taken; less, if it is negative."""
        ...

    def size(self, pool: Pool, connections: int) -> None:
        """So many connections the pool has at the most."""
        ...


class NoMeter:
    """Nobody keeps count: in commands, and in tests of something else."""

    def took(self, kind: Kind, seconds: float) -> None: ...

    def waited(self, pool: Pool, seconds: float) -> None: ...

    def in_use(self, pool: Pool, change: int) -> None: ...

    def size(self, pool: Pool, connections: int) -> None: ...


NO_METER: Final = NoMeter()


class timed:  # noqa: N801  # reads as a word of its `with`
    """Tells a meter how long the block took. Not by a generator, which would take three times as long itself."""

    __slots__ = ("_kind", "_meter", "_started")

    def __init__(self, meter: Meter, kind: Kind) -> None:
        self._meter = meter
        self._kind: Kind = kind

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._meter.took(self._kind, time.perf_counter() - self._started)

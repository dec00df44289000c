"""What a database reports while it works: durations and pool sizes. It knows no monitoring system."""

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

Kind = Literal["read", "scan", "write", "commit"]
"""A statement of one of three sorts, or a COMMIT."""

Pool = Literal["read", "scan", "write", "stream", "replica"]

Place = Literal["primary", "replica", "moved"]
"""Where a unit of work read that may read from a replica. It is moved to the primary if the replica fails."""


class Meter(Protocol):
    """Called for each statement, so it has to be cheap; and from one thread."""

    def took(self, kind: Kind, seconds: float, error: BaseException | None = None) -> None:
        """One ended, with an error or without, after so many seconds."""
        ...

    def failed(self, error: BaseException) -> None:
        """Something else than a statement failed: a connection could not be made."""
        ...

    def waited(self, pool: Pool, seconds: float) -> None:
        """A caller waited so many seconds for a connection, and got it or not."""
        ...

    def in_use(self, pool: Pool, change: int) -> None:
        """So many more connections are in use; fewer if negative."""
        ...

    def size(self, pool: Pool, connections: int) -> None:
        """The most connections that the pool may have."""
        ...

    def log(self, size: Callable[[], int]) -> None:
        """How to learn the bytes of the database's log, if it is one that should stay short."""
        ...

    def read_from(self, place: Place) -> None:
        """A reading unit of work began there. Only where there are replicas."""
        ...

    def behind(self, replica: str, seconds: float) -> None:
        """How long ago the primary was as this replica is now, at most; infinite if that is not known."""
        ...

    def alarm(self, code: str, *, on: bool) -> None:
        """Something that keeps the database from working began or ended (`repositories.engines.alarms`)."""
        ...


class NoMeter:
    """Counts nothing: for commands, and for tests of something else."""

    def took(self, kind: Kind, seconds: float, error: BaseException | None = None) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def waited(self, pool: Pool, seconds: float) -> None: ...

    def in_use(self, pool: Pool, change: int) -> None: ...

    def size(self, pool: Pool, connections: int) -> None: ...

    def log(self, size: Callable[[], int]) -> None: ...

    def read_from(self, place: Place) -> None: ...

    def behind(self, replica: str, seconds: float) -> None: ...

    def alarm(self, code: str, *, on: bool) -> None: ...


NO_METER: Final = NoMeter()


class timed:  # noqa: N801  # reads as a word of its `with`
    """Tells a meter how long the block took. A generator would itself take three times as long."""

    __slots__ = ("_kind", "_meter", "_started")

    def __init__(self, meter: Meter, kind: Kind) -> None:
        self._meter = meter
        self._kind: Kind = kind

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._meter.took(self._kind, time.perf_counter() - self._started, error)

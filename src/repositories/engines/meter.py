"""The interface by which a database reports durations and pool sizes. It does not depend on a monitoring system."""

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

Kind = Literal["read", "scan", "write", "commit"]
"""One of three kinds of statements, or a COMMIT."""

Pool = Literal["read", "scan", "write", "stream", "replica"]

Place = Literal["primary", "replica", "moved"]
"""Where a unit of work that may use a replica has read. "moved": to the primary, because the replica failed."""


class Meter(Protocol):
    """Called for each statement, so it has to be fast. It is called from one thread only."""

    def took(self, kind: Kind, seconds: float, error: BaseException | None = None) -> None:
        """A statement or COMMIT took so many seconds, and ended with an error or without."""
        ...

    def failed(self, error: BaseException) -> None:
        """A connection could not be opened."""
        ...

    def waited(self, pool: Pool, seconds: float) -> None:
        """A caller waited so many seconds for a connection, whether it got one or not."""
        ...

    def in_use(self, pool: Pool, change: int) -> None:
        """The number of connections in use has changed by this number."""
        ...

    def size(self, pool: Pool, connections: int) -> None:
        """The largest number of connections in the pool."""
        ...

    def log(self, size: Callable[[], int]) -> None:
        """`size` returns the bytes of SQLite's write-ahead log."""
        ...

    def read_from(self, place: Place) -> None:
        """A reading unit of work began at this place. Called only if there are replicas."""
        ...

    def behind(self, replica: str, seconds: float) -> None:
        """The lag of a replica, at most; infinite if it is not known."""
        ...

    def alarm(self, code: str, *, on: bool) -> None:
        """An alarm began or ended (see `repositories.engines.alarms`)."""
        ...


class NoMeter:
    """Counts nothing. For commands, and for tests."""

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
    """Reports how long the block took. It is a class, because a generator would take three times as long."""

    __slots__ = ("_kind", "_meter", "_started")

    def __init__(self, meter: Meter, kind: Kind) -> None:
        self._meter = meter
        self._kind: Kind = kind

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._meter.took(self._kind, time.perf_counter() - self._started, error)

"""What a database tells of its work while it does it. It does not know who keeps count, nor whether anybody does."""

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

"""The bounds of what waits or grows. An operator can set each: `ROSTER_LIMITS__STATEMENT_S=30`."""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, bytes and numbers, each above 0. Raises ValueError for others."""

    statement_s: float = 15
    """How long a statement may take. A PostgreSQL server that goes on after that loses its connection."""

    end_s: float = 0.5
    """How long PostgreSQL may take to undo a transaction or to give up a statement, before its connection is cut."""

    stop_s: float = 5
    """How long the database may take to close its connections when the server stops, before they are cut."""

    waits: int = 1000
    """How many requests of one process may wait for changes at a time."""

    waits_per_key: int = 100
    """How many of them may have the same key."""

    snapshots: int = 4
    """How many streams one process has at a time: each holds a snapshot of the database."""

    snapshots_per_key: int = 2
    """How many of them may have the same key."""

    page_bytes: int = 1024**2
    """How long a page may be before it ends, though it has fewer items than were asked for."""

    stream_s: float = 600
    """How long a stream may take. Its snapshot keeps the database from forgetting old rows."""

    stream_bytes_per_s: float = 16 * 1024
    """The least that a client has to accept of its stream in a second."""

    stream_patience_s: float = 20
    """How far a client may fall behind that rate."""

    imports: int = 2
    """How many imports one process carries out at a time over HTTP, with a file on its disk for each."""

    import_bytes: int = 1024**3
    """How long the file of an import may be over HTTP."""

    import_s: float = 3600
    """How long an import over HTTP may take from when its file has arrived."""

    log_bytes: int = 1024**3
    """How long SQLite's log may be while a stream reads: it cannot be emptied then, and every write makes it longer."""

    log_kept_bytes: int = 64 * 1024**2
    """How long the file of SQLite's log stays once the log was emptied."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < float("inf"):
                raise ValueError(f"{each.name} must be above 0 and finite")


LIMITS: Final = Limits()

"""Bounds on everything that waits or grows. An operator can set each of them: `ROSTER_LIMITS__STATEMENT_S=30`."""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, bytes and numbers, each above 0. Raises ValueError for others."""

    statement_s: float = 15
    """Seconds that a statement may take. If PostgreSQL does not end it then, its connection is closed."""

    end_s: float = 0.5
    """Seconds that PostgreSQL has to roll back a transaction or to cancel a statement, before its connection is
    closed."""

    stop_s: float = 5
    """Seconds that connections to the database have to close when the server stops, before they are aborted."""

    waits: int = 1000
    """How many requests of one process may wait for changes at a time."""

    waits_per_key: int = 100
    """How many of them may have the same key."""

    snapshots: int = 4
    """How many streams one process has at a time: each holds a snapshot of the database."""

    snapshots_per_key: int = 2
    """How many of them may have the same key."""

    page_bytes: int = 1024**2
    """Bytes after which a page ends, even if it has fewer items than the client asked for."""

    stream_s: float = 600
    """Seconds that a stream may take. During a stream the database has to keep old rows."""

    stream_bytes_per_s: float = 16 * 1024
    """Bytes of its stream that a client has to read in a second, on average."""

    stream_patience_s: float = 20
    """Seconds that a client may be behind that rate."""

    imports: int = 2
    """How many imports over HTTP one process carries out at a time. Each keeps its file on disk."""

    import_bytes: int = 1024**3
    """Bytes of the largest file of an import over HTTP."""

    import_s: float = 3600
    """Seconds that an import over HTTP may take after its file has arrived."""

    log_bytes: int = 1024**3
    """Bytes of SQLite's log at which streams are cut off. During a stream the log cannot be emptied, and every write
    adds to it."""

    log_kept_bytes: int = 64 * 1024**2
    """Bytes to which the file of SQLite's log is cut when the log was emptied."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < float("inf"):
                raise ValueError(f"{each.name} must be above 0 and finite")


LIMITS: Final = Limits()

"""What a copy of a directory in another database tells of itself, for operators."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done, to which table. Each row is copied and then compared: so much of this is done, of so much."""

    doing: str
    table: str
    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Sum:
    """What two tables have to agree in: the number of their rows, and a checksum of all values in the order of keys."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table in the source, as it was copied, and in the target, as it was read again."""

    table: str
    source: Sum
    target: Sum

    @property
    def is_same(self) -> bool:
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class Finished:
    """The target can be served. It has the source up to a change; `start` is after what it counts in a new epoch."""

    last_change: int
    start: int | None

"""The progress and the result of copying a directory to another database, for operators."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress: the present table, and how many steps of all are done. Each row is first copied and then
    compared."""

    doing: str
    table: str
    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Sum:
    """What two equal tables have in common: the number of rows, and a checksum of all values in the order of keys."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table as it was copied from the source, and as it was read again from the target."""

    table: str
    source: Sum
    target: Sum

    @property
    def is_same(self) -> bool:
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class Finished:
    """The target can be served. It has all changes of the source up to `last_change`. If it begins a new epoch, its
    numbers continue after `start`."""

    last_change: int
    start: int | None

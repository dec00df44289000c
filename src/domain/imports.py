"""Imports: the rows of a file, the options, and the result of each row."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from domain.entities import Entity
from domain.errors import Fault, Refusal
from domain.journal import Line, difference
from domain.values import JsonObject

BATCH: Final = 250
"""Rows that are stored in one transaction. Other clients can write between two transactions."""

SERVER_BATCH: Final = 50
"""The same in a server, whose requests wait for the work on a batch: a few milliseconds for so many rows."""

MOST_AT_ONCE: Final = 10_000
"""The largest number of rows of an atomic import, because one transaction keeps all of them in memory."""


class Kind(StrEnum):
    """The kind of a row. A row without a kind is a user."""

    USER = "user"
    GROUP = "group"
    NESTING = "nesting"
    """A group (`child`) is a part of another group (`group`). Both are given by their names."""

    MEMBERSHIP = "membership"
    """A user is a member of a `group` with a `role`. `user` is the value of the field by which users are matched."""


class Match(StrEnum):
    """The field by which users of the file are matched with users of the directory."""

    EXTERNAL_ID = "external_id"
    EMAIL = "email"
    USERNAME = "username"


class Mode(StrEnum):
    CREATE = "create"
    """Every row is new."""

    UPSERT = "upsert"
    """A row that matches a user changes it, like a merge patch. Any other row creates a user."""

    SYNC = "sync"
    """The same. In addition, users that have the identifier and are not in the file are deleted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its first line in the file, counted from 1, and its values.

    A row with `faults` could not be read, and has no values. If it `is_patch`, a null in the attributes of a new entity
    is left out: it comes from an empty cell of a table.
    """

    line: int
    values: JsonObject
    faults: Sequence[Fault] = ()
    is_patch: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """A number, or a percentage of all."""

    number: float
    is_percent: bool

    def of(self, total: int) -> int:
        return int(total * self.number / 100 if self.is_percent else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{' %' if self.is_percent else ''}"


@dataclass(frozen=True, slots=True)
class FileKey:
    """The key of an import, and a digest of its file. With the same key, another file is refused."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`max_delete` is how many users a sync may delete. With a `key`, an interrupted import can be continued.

    With `atomic`, all rows are stored or none.
    """

    mode: Mode = Mode.CREATE
    match: Match = Match.EXTERNAL_ID
    atomic: bool = False
    max_delete: Share = Share(10, is_percent=True)  # it is frozen
    key: FileKey | None = None


class Done(StrEnum):
    """The result of a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    """A sync deleted a user that is not in the file. This result has no line."""

    REJECTED = "rejected"
    WITHHELD = "withheld"
    """The row is valid, but was not stored, because other rows of an atomic import were rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a row, with its details.

    `was` and `now` are the entity before and after, if this run stored it. `joined` and `left` are the names of the
    groups that a user joined and left.
    """

    line: int | None
    done: Done
    kind: str = Kind.USER
    id: int | None = None
    was: Entity | None = None
    now: Entity | None = None
    joined: Sequence[str] = ()
    left: Sequence[str] = ()
    faults: Sequence[Fault] = ()

    def difference(self) -> tuple[JsonObject | None, JsonObject | None]:
        """The fields that differ, before and after, in the form of a change."""
        if self.was is None and self.now is None:
            return None, None
        return difference(Line(self.was, self.now, version=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The number of rows for each result. `again` counts the rows that an earlier run stored. They are counted by their
    result too."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    withheld: int = 0
    again: int = 0

    def plus(self, outcomes: Sequence[Outcome], *, again: bool = False) -> "Counts":
        read = sum(outcome.line is not None for outcome in outcomes)
        ends: Counter[str] = Counter(outcome.done for outcome in outcomes)
        new = {"rows": read, "again": read if again else 0, **ends}
        return Counts(**{name: number + new.get(name, 0) for name, number in self.as_json().items()})

    def as_json(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class TooManyDeletions(Refusal):
    """A sync would delete more users than it may. Nothing was stored."""

    code = "too_many_deletions"

    def __init__(self, missing: int, total: int, allowed: Share) -> None:
        super().__init__(
            f"{missing} of the {total} users who have this identifier are not in the file, and at most {allowed} "
            "may be deleted. If it is the right file, allow more deletions."
        )


SHARDS: Final = 4096


class KeySet:
    """A set of texts, stored as 64 bits of their hashes: a million texts take 8 MiB.

    In a file of a million texts, the probability that two have the same hash is one in forty million.
    """

    def __init__(self) -> None:
        self._shards = [array("q") for _ in range(SHARDS)]

    def add(self, text: str) -> None:
        key = hash(text)
        shard = self._shards[key % SHARDS]
        place = bisect_left(shard, key)
        if place == len(shard) or shard[place] != key:
            shard.insert(place, key)

    def __contains__(self, text: object) -> bool:
        key = hash(text)
        shard = self._shards[key % SHARDS]
        place = bisect_left(shard, key)
        return place < len(shard) and shard[place] == key

"""Imports: the rows of a file, how they are carried out, and what became of each."""

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
"""How many rows are stored in one transaction: others write between two of them."""

MOST_AT_ONCE: Final = 10_000
"""How many rows an import that is all or nothing has at most: one transaction holds all of them in memory."""


class Kind(StrEnum):
    """What a row is about. A row that does not say it is a user."""

    USER = "user"
    GROUP = "group"
    NESTING = "nesting"
    """That a group (`child`) is a part of another one (`group`), both by their names."""

    MEMBERSHIP = "membership"
    """That a user (`user`, by the field that users are matched by) is a member of a `group`, and in which `role`."""


class Match(StrEnum):
    """By which field the users of the file are those of the directory."""

    EXTERNAL_ID = "external_id"
    EMAIL = "email"
    USERNAME = "username"


class Mode(StrEnum):
    CREATE = "create"
    """Every row is new."""

    UPSERT = "upsert"
    """A row changes what it matches, as a merge patch does, or is new."""

    SYNC = "sync"
    """The same, and users who have the identifier and are not in the file are deleted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line of the file on which it begins, from 1, and what it says.

    With faults, why it cannot be read: then it says nothing. If it `is_patch`, a null among the attributes of something
    new is not stored: an empty cell of a table.
    """

    line: int
    values: JsonObject
    faults: Sequence[Fault] = ()
    is_patch: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """So many, or so many percent of all."""

    number: float
    is_percent: bool

    def of(self, total: int) -> int:
        return int(total * self.number / 100 if self.is_percent else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{' %' if self.is_percent else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`max_delete` is how many users a sync may delete. With a `key` an import that ended early goes on where it was.

    `atomic`: all rows or none.
    """

    mode: Mode = Mode.CREATE
    match: Match = Match.EXTERNAL_ID
    atomic: bool = False
    max_delete: Share = Share(10, is_percent=True)  # it is frozen
    key: str | None = None


class Done(StrEnum):
    """What became of a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    """A user whom a sync did not find in the file. It has no line."""

    REJECTED = "rejected"
    WITHHELD = "withheld"
    """It was good, and is not stored: others of an import that is all or nothing were rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a row.

    `was` and `now` are the entity before and after, if this run stored it. `joined` and `left` are the names of the
    groups of which a user became a member, or is no longer one.
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
        """The fields that differ, before and after, as a change has them."""
        if self.was is None and self.now is None:
            return None, None
        return difference(Line(self.was, self.now, version=0, has_ended=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many rows came to which end. `again` were stored by an earlier run, and are counted in the others too."""

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
        ends = Counter(str(outcome.done) for outcome in outcomes)
        new = {"rows": read, "again": read if again else 0, **ends}
        return Counts(**{name: number + new.get(name, 0) for name, number in self.as_json().items()})

    def as_json(self) -> dict[str, int]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class TooManyDeletions(Refusal):
    """A sync would delete more users than it may. Nothing was stored."""

    code = "too_many_deletions"

    def __init__(self, missing: int, total: int, allowed: Share) -> None:
        super().__init__(
            f"{missing} of the {total} users who have this identifier are not in the file, and at most {allowed} may "
            "be deleted. Is it the right file? Otherwise allow more."
        )


SHARDS: Final = 4096


class KeySet:
    """Texts that were met, by 64 bits of their hashes: a million take 8 MiB.

    Two of a million have the same hash once in forty million files.
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

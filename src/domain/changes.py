"""Changes: one for each entity that a unit of work wrote, stored in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.lists.fields import Field, Fields, Kind, declare
from domain.lists.filters import Filter
from domain.lists.pages import Order, Sort
from domain.references import Subject
from domain.values import JsonObject, plain


class Action(StrEnum):
    """What was done. Deleting hides an entity, restoring shows it again. Ending removes it and keeps its history,
    purging also erases the values in its history."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"
    ENDED = "ended"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChange:
    """What happened to one entity.

    `before` and `after` have the fields that differ. `before` is None for a new entity. Both are None in every change
    of an entity that was erased later.
    `actor` and `request_id` say who did it and in which request.
    `subjects` are the entities that it is about: the entity itself first, then those that it refers to.
    """

    kind: str
    entity_id: int
    version: int
    action: Action
    actor: str
    request_id: str
    at: datetime
    before: JsonObject | None
    after: JsonObject | None
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(NewChange):
    """A stored change. `seq` rises with every commit: a later commit has a higher number."""

    seq: int


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of changes of one kind and one action on one day in UTC, such as 2026-01-31.

    `before` and `after` are the values of the field `status` in these changes, if the kind has this field.
    """

    day: str
    kind: str
    action: Action
    before: str | None
    after: str | None
    changes: int


SEQ: Final = Field("seq", Kind.INTEGER)

FIELDS: Final[Fields] = declare(
    SEQ,
    Field("kind", Kind.EXACT),
    Field("entity_id", Kind.INTEGER),
    Field("version", Kind.INTEGER),
    Field("action", Kind.EXACT),
    Field("actor", Kind.EXACT),
    Field("request_id", Kind.EXACT),
    Field("at", Kind.INSTANT),
)
"""The fields by which lists of changes are filtered."""

BY_SEQ: Final = Sort((Order(SEQ),))
NEWEST_FIRST: Final = Sort((Order(SEQ, descending=True),))


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some changes. Up to the number `end` they are all changes that match what was asked for."""

    changes: Sequence[Change]
    end: int

    @classmethod
    def of(cls, changes: Sequence[Change], limit: int, looked_at: int) -> "ChangePage":
        """A page of the changes that a list with this limit found. `looked_at` is the last number of the record before
        the list was read."""
        last = changes[-1].seq if changes else 0
        return cls(changes, last if changes and len(changes) == limit else max(last, looked_at))


def document_of(change: Change) -> JsonObject:
    """A change as JSON, as the feed shows it and as webhooks get it."""
    return {
        "seq": change.seq,
        "kind": change.kind,
        "entity_id": change.entity_id,
        "version": change.version,
        "action": change.action.value,
        "actor": change.actor,
        "request_id": change.request_id,
        "at": plain(change.at),
        "before": change.before,
        "after": change.after,
        "subjects": [{"kind": kind, "id": id} for kind, id in change.subjects],
    }


class ReadChanges(Protocol):
    """The record of changes, to read. Only a unit of work writes to it."""

    async def list(
        self,
        *,
        filter: Filter | None = None,
        since: int = 0,
        subject: Subject | None = None,
        limit: int,
    ) -> Sequence[Change]:
        """At most `limit` changes with sequence numbers above `since`, in rising order.

        With a subject, these are the changes that are about it; otherwise those that match the filter. A reader who
        continues after the last number that it has seen misses no change.
        """
        ...

    async def latest(
        self, *, filter: Filter | None = None, before: int, subject: Subject | None = None, limit: int
    ) -> Sequence[Change]:
        """At most `limit` changes with sequence numbers below `before`, the newest first.

        Which ones these are is as in `list`.
        """
        ...

    async def tally(self, *, since: datetime, most: int) -> Sequence[Tally]:
        """The numbers of changes for each day since this time, in no order. Only the newest `most` changes are
        counted."""
        ...

    async def last(self) -> int:
        """The highest sequence number of all changes; 0 if there is none."""
        ...

    async def has_expired(self, position: int) -> bool:
        """Whether the feed cannot be followed from this number on. Either a reader at this position has seen changes
        that a restore undid, or changes after this position are no longer kept.
        """
        ...

    async def last_about(self, kind: str, ids: Collection[int]) -> Mapping[int, tuple[int, datetime]]:
        """For each of these entities the number and the time of the last change that is about it, if there is one.

        It takes two statements, whose cost does not depend on the number of changes.
        """
        ...


class Changes(ReadChanges, Protocol):
    async def trim(self, *, before: datetime, up_to: int, limit: int) -> int:
        """Remove at most `limit` of the oldest changes: those from before this time, with numbers up to `up_to`.

        Returns how many were removed. Positions before the last removed change expire.
        """
        ...

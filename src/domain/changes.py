"""Changes: one for each entity that a unit of work wrote, kept with it in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from domain.entities import BOOKKEEPING, Entity
from domain.fields import Field, Fields, Kind, declare
from domain.filters import Filter
from domain.pages import Order, Sort
from domain.references import Subject
from domain.values import JsonObject, JsonValue, same


class Action(StrEnum):
    """What was done. Deleting hides, restoring shows again, ending removes and keeps the history, purging erases."""

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
    """Some changes. Up to the number `end` the record has no other change that was asked for."""

    changes: Sequence[Change]
    end: int

    @classmethod
    def of(cls, changes: Sequence[Change], limit: int, looked_at: int) -> "ChangePage":
        """The page of at most `limit` changes that a list found, when the record had changes up to `looked_at`."""
        last = changes[-1].seq if changes else 0
        return cls(changes, last if changes and len(changes) == limit else max(last, looked_at))


class Line(NamedTuple):
    """The first and the last state of an entity in a unit of work: None before it was added and after its removal.

    A removal has a version too, one more than the entity had.
    """

    before: Entity | None
    after: Entity | None
    version: int
    has_ended: bool


class Mark(NamedTuple):
    """What a journal had at some moment."""

    lines: Mapping[Subject, Line]
    seq: int | None


class Journal:
    """What the stores of one unit of work did: for each entity its first and its last state."""

    def __init__(self) -> None:
        self._lines: dict[Subject, Line] = {}
        self.seq: int | None = None
        """The number of the last change that was written already: many at once are not noted here."""

    def added(self, entity: Entity) -> None:
        self._note(None, entity)

    def saved(self, before: Entity, after: Entity) -> None:
        self._note(before, after)

    def removed(self, entity: Entity) -> None:
        """It was erased."""
        self._note(entity, None)

    def ended(self, entity: Entity) -> None:
        """It was removed, and its changes stay."""
        self._note(entity, None, has_ended=True)

    def forget(self, entity: Entity) -> None:
        """Drop what was noted of this entity."""
        self._lines.pop((entity.kind, entity.id), None)

    def _note(self, before: Entity | None, after: Entity | None, *, has_ended: bool = False) -> None:
        entity = after or before
        assert entity is not None  # noqa: S101  # the four methods above see to it
        key = (entity.kind, entity.id)
        first = self._lines[key].before if key in self._lines else before
        version = entity.version if after else entity.version + 1
        self._lines[key] = Line(first, after, version, has_ended)

    def has(self, kind: str) -> bool:
        """Whether something was noted of entities of this kind."""
        return any(each == kind for each, _ in self._lines)

    def mark(self) -> Mark:
        """What was noted so far, for `rewind`."""
        return Mark(dict(self._lines), self.seq)

    def rewind(self, mark: Mark) -> None:
        """Drop what was noted since the mark, because a savepoint was undone."""
        self._lines = dict(mark.lines)
        self.seq = mark.seq

    @property
    def erased(self) -> Sequence[Entity]:
        return [line.before for line in self._lines.values() if line.before and not (line.after or line.has_ended)]

    def changes(self, *, actor: str, request_id: str, at: datetime) -> Sequence[NewChange]:
        """One change for each entity. One that was added and removed again in the same unit leaves no trace."""
        return [change_of(line, actor, request_id, at) for line in self._lines.values() if line.before or line.after]


def change_of(line: Line, actor: str, request_id: str, at: datetime) -> NewChange:
    entity = line.after or line.before
    assert entity is not None  # noqa: S101  # `changes` leaves such lines out
    before, after = difference(line)
    return NewChange(
        kind=entity.kind,
        entity_id=entity.id,
        version=line.version,
        action=action_of(line),
        actor=actor,
        request_id=request_id,
        at=at,
        before=before,
        after=after,
        subjects=subjects_of(line, entity),
    )


def action_of(line: Line) -> Action:
    before, after = line.before, line.after
    if before is None:
        return Action.CREATED
    if after is None:
        return Action.ENDED if line.has_ended else Action.PURGED
    if before.is_hidden is after.is_hidden:
        return Action.UPDATED
    return Action.RESTORED if before.is_hidden else Action.DELETED


def subjects_of(line: Line, entity: Entity) -> tuple[Subject, ...]:
    """The entity itself, then all that it refers to or referred to."""
    own = (entity.kind, entity.id)
    if not entity.references:
        return (own,)
    named = [
        (reference.to.kind, id)
        for state in (line.before, line.after)
        for reference in entity.references
        if state is not None and (id := getattr(state, reference.field)) is not None
    ]
    return tuple(dict.fromkeys([own, *named]))


def difference(line: Line) -> tuple[JsonObject | None, JsonObject | None]:
    """The fields that differ, before and after. For a new entity these are the fields that are set, for an
    ended one all of its fields.

    The state after always has the fields that identify the entity. For an erased entity both are None.
    """
    before, after = line.before, line.after
    entity = after or before
    if entity is None or (after is None and not line.has_ended):
        return None, None
    was, became = state_of(before), state_of(after)
    if after is None:
        differing = list(was)
    elif before is None:
        differing = [name for name, value in became.items() if value is not None]
    else:
        differing = [name for name, value in was.items() if not same(value, became[name])]
    identity = {name: plain(getattr(entity, name)) for name in entity.identified_by}
    return (
        None if before is None else {name: was.get(name) for name in differing},
        identity if after is None else {**identity, **{name: became.get(name) for name in differing}},
    )


def differ(before: Entity, after: Entity) -> bool:
    """Whether any field of a change differs between the two."""
    was, became = state_of(before), state_of(after)
    return any(not same(was[name], became[name]) for name in was)


def state_of(entity: Entity | None) -> dict[str, JsonValue]:
    if entity is None:
        return {}
    kind: Any = type(entity)
    return {name: plain(getattr(entity, name)) for name in recorded_fields(kind)}


@cache
def recorded_fields(entity: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(entity) if each.name not in BOOKKEEPING)


def plain(value: Any) -> JsonValue:
    """A field's value as JSON. Times are RFC 3339, in UTC."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, StrEnum) else value


def document_of(change: Change) -> JsonObject:
    """A change as JSON, as the feed shows it and as webhooks get it."""
    shown = {each.name: plain(getattr(change, each.name)) for each in fields(change) if each.name != "subjects"}
    return {"seq": change.seq, **shown, "subjects": [{"kind": kind, "id": id} for kind, id in change.subjects]}


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

    async def latest(self, *, filter: Filter | None = None, before: int, limit: int) -> Sequence[Change]:
        """At most `limit` changes that match, with sequence numbers below `before`, the newest first."""
        ...

    async def last(self) -> int:
        """The highest sequence number of all changes; 0 if there is none."""
        ...

    async def has_expired(self, position: int) -> bool:
        """Whether the feed cannot be followed from this number on.

        Who has seen the changes up to it has seen some that a restore undid, or misses some that are kept no longer.
        """
        ...

    async def last_about(self, kind: str, ids: Collection[int]) -> Mapping[int, tuple[int, datetime]]:
        """The number and the time of the last change that is about each of these entities, if there is one.

        It takes two statements, and for each entity as long whatever the number of its changes.
        """
        ...


class Changes(ReadChanges, Protocol):
    async def trim(self, *, before: datetime, up_to: int, limit: int) -> int:
        """Remove the oldest changes, at most `limit`: from before this time, and with numbers up to `up_to`.

        Returns how many were removed. Positions before the last one of them have expired.
        """
        ...

"""The journal of a unit of work: what its stores did. The changes are made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from domain.changes import Action, NewChange
from domain.entities import BOOKKEEPING, Entity
from domain.references import Subject
from domain.values import JsonObject, JsonValue, plain, same


class Line(NamedTuple):
    """The first and the last state of an entity in a unit of work. The state before an addition and after a removal is
    None.

    A removal has a version too, which is one higher than the version of the entity. `by_row` says that the row of the
    entity has all that its change needs.
    """

    before: Entity | None
    after: Entity | None
    version: int
    has_ended: bool = False
    by_row: bool = False


class Additions(NamedTuple):
    """Entities of one kind that were added together, and not changed since. The database can write their changes from
    their rows."""

    kind: str
    ids: Sequence[int]


class Mark(NamedTuple):
    """The state of a journal at some moment."""

    lines: Mapping[Subject, Line]
    seq: int | None


class Journal:
    """What the stores of one unit of work did: for each entity its first and its last state."""

    def __init__(self) -> None:
        self._lines: dict[Subject, Line] = {}
        self.seq: int | None = None
        """The number of the last change that a statement for many entities wrote directly. Such changes are not noted
        here."""

    def added(self, entity: Entity) -> None:
        self._note(None, entity)

    def added_many(self, entities: Sequence[Entity]) -> None:
        """They were added, and the database can write their changes."""
        self._lines.update({(each.kind, each.id): Line(None, each, each.version, by_row=True) for each in entities})

    def saved(self, before: Entity, after: Entity) -> None:
        self._note(before, after)

    def removed(self, entity: Entity) -> None:
        """It was erased."""
        self._note(entity, None)

    def ended(self, entity: Entity) -> None:
        """It was removed, and its changes are kept."""
        self._note(entity, None, has_ended=True)

    def forget(self, entity: Entity) -> None:
        """Drop the notes about this entity."""
        self._lines.pop((entity.kind, entity.id), None)

    def _note(self, before: Entity | None, after: Entity | None, *, has_ended: bool = False) -> None:
        entity = after or before
        assert entity is not None  # noqa: S101  # the four methods above see to it
        key = (entity.kind, entity.id)
        first = self._lines[key].before if key in self._lines else before
        version = entity.version if after else entity.version + 1
        self._lines[key] = Line(first, after, version, has_ended)

    def has(self, kind: str) -> bool:
        """Whether there are notes about entities of this kind."""
        return any(each == kind for each, _ in self._lines)

    def mark(self) -> Mark:
        """The present state of the journal, for `rewind`."""
        return Mark(dict(self._lines), self.seq)

    def rewind(self, mark: Mark) -> None:
        """Drop the notes since the mark, because a savepoint was undone."""
        self._lines = dict(mark.lines)
        self.seq = mark.seq

    @property
    def erased(self) -> Sequence[Entity]:
        return [line.before for line in self._lines.values() if line.before and not (line.after or line.has_ended)]

    def changes(self, *, actor: str, request_id: str, at: datetime) -> Sequence[NewChange]:
        """One change for each entity. An entity that was added and removed in the same unit has no change."""
        return [change_of(line, actor, request_id, at) for line in self._lines.values() if line.before or line.after]

    def parts(self, *, actor: str, request_id: str, at: datetime) -> Sequence[Sequence[NewChange] | Additions]:
        """The same in their order, in parts: the database writes the changes of some additions itself."""
        lines = [line for line in self._lines.values() if line.before or line.after]
        parts: list[Sequence[NewChange] | Additions] = []
        for kind, some in groupby(lines, lambda line: line.after.kind if line.by_row and line.after else None):
            if kind is None:
                parts.append([change_of(line, actor, request_id, at) for line in some])
            else:
                parts.append(Additions(kind, [line.after.id for line in some if line.after]))
        return parts


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
    """The entity itself, then all entities that it refers to or referred to before."""
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
    """The fields that differ, before and after. For a new entity these are the fields that have a value. For an ended
    entity these are all fields.

    The state after always has the fields that identify the entity. For an erased entity both states are None.
    """
    before, after = line.before, line.after
    entity = after or before
    if entity is None or (after is None and not line.has_ended):
        return None, None
    identity = {name: plain(getattr(entity, name)) for name in entity.identified_by}
    if before is None:
        became = state_of(entity)
        return None, {**identity, **{name: value for name, value in became.items() if value is not None}}
    if after is None:
        return state_of(before), identity
    names = differing(before, after)
    return state_of(before, names), {**identity, **state_of(after, names)}


def differ(before: Entity, after: Entity) -> bool:
    """Whether the two differ in a field that changes show."""
    return bool(differing(before, after))


def differing(before: Entity, after: Entity) -> Sequence[str]:
    kind: Any = type(before)
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in recorded_fields(kind)]
    return [name for name, was, became in pairs if was is not became and not same(plain(was), plain(became))]


def state_of(entity: Entity, only: Sequence[str] | None = None) -> dict[str, JsonValue]:
    kind: Any = type(entity)
    return {name: plain(getattr(entity, name)) for name in (recorded_fields(kind) if only is None else only)}


@cache
def recorded_fields(entity: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(entity) if each.name not in BOOKKEEPING)

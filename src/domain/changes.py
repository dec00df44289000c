"""Changes: one for each entity that a unit of work wrote, kept with it in the same transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol

from domain.fields import Field, Fields, Kind, declare
from domain.filters import Filter
from domain.pages import Order, Sort
from domain.values import JsonObject, JsonValue, same


class Action(StrEnum):
    """What was done: deleting hides, restoring undoes that, purging erases."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChange:
    """What happened to one entity.

    `before` and `after` hold the fields that differ. `before` is None when it was created; both are None in every
    change of an entity that was erased since.
    `actor` and `request_id` say who asked and in which request.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(NewChange):
    """A change that is kept. `seq` rises with every commit: what commits later has the higher number."""

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
"""What lists of changes are filtered by."""

BY_SEQ: Final = Sort((Order(SEQ),))


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of the record: some changes, and the number up to which there is nothing else that was asked for."""

    changes: Sequence[Change]
    end: int

    @classmethod
    def of(cls, changes: Sequence[Change], limit: int, looked_at: int) -> "ChangePage":
        """What a list found that was asked for up to `limit` after the changes up to `looked_at` were there."""
        last = changes[-1].seq if changes else 0
        return cls(changes, last if changes and len(changes) == limit else max(last, looked_at))


class Entity(Protocol):
    """What the journal asks of an entity: a frozen dataclass with these."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    kind: ClassVar[str]

    @property
    def id(self) -> int: ...
    @property
    def version(self) -> int: ...


class Journal:
    """What the stores of one unit of work did, as they told it: for each entity its first and its last state."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], tuple[Entity | None, Entity | None]] = {}
        self.last: Entity | None = None
        """The entity that was added or saved last, as it then was."""

    def added(self, entity: Entity) -> None:
        self._note(None, entity)

    def saved(self, before: Entity, after: Entity) -> None:
        self._note(before, after)

    def removed(self, entity: Entity) -> None:
        self._note(entity, None)

    def _note(self, before: Entity | None, after: Entity | None) -> None:
        entity = after or before
        assert entity is not None  # noqa: S101  # the three methods above see to it
        key = (entity.kind, entity.id)
        first, _ = self._lines.get(key, (before, None))
        self._lines[key] = (first, after)
        self.last = after or self.last

    @property
    def removed_entities(self) -> Sequence[Entity]:
        return [before for before, after in self._lines.values() if before is not None and after is None]

    def changes(self, *, actor: str, request_id: str, at: datetime) -> Iterator[NewChange]:
        """One change for each entity. One that was added and removed again in the same unit leaves no trace."""
        for (kind, id), (before, after) in self._lines.items():
            if before is None and after is None:
                continue
            was, became = difference(before, after)
            yield NewChange(
                kind=kind,
                entity_id=id,
                version=version_after(before, after),
                action=action_of(before, after),
                actor=actor,
                request_id=request_id,
                at=at,
                before=was,
                after=became,
            )


def version_after(before: Entity | None, after: Entity | None) -> int:
    if after is not None:
        return after.version
    return before.version + 1 if before is not None else 1


def action_of(before: Entity | None, after: Entity | None) -> Action:
    if before is None:
        return Action.CREATED
    if after is None:
        return Action.PURGED
    match ended_at(before), ended_at(after):
        case None, datetime():
            return Action.DELETED
        case datetime(), None:
            return Action.RESTORED
        case _:
            return Action.UPDATED


def ended_at(entity: Entity) -> datetime | None:
    """When it was deleted or, if that is what is done with its kind, revoked."""
    return getattr(entity, "deleted_at", None) or getattr(entity, "revoked_at", None)


def difference(before: Entity | None, after: Entity | None) -> tuple[JsonObject | None, JsonObject | None]:
    """The fields that differ, as they were and as they are; of a new entity those that are set; of an erased none."""
    if after is None:
        return None, None
    was, became = state_of(before), state_of(after)
    differing = [name for name in was | became if not same(was.get(name), became.get(name))]
    return (
        None if before is None else {name: was.get(name) for name in differing},
        {name: became.get(name) for name in differing},
    )


def differ(before: Entity, after: Entity) -> bool:
    """Whether a change from one to the other would have anything to tell."""
    return difference(before, after) != ({}, {})


BOOKKEEPING = frozenset({"id", "version", "created_at", "updated_at"})


def state_of(entity: Entity | None) -> dict[str, JsonValue]:
    if entity is None:
        return {}
    names = (each.name for each in fields(entity) if each.name not in BOOKKEEPING)
    return {name: plain(getattr(entity, name)) for name in names}


def plain(value: Any) -> JsonValue:
    """A field's value as JSON has it: times in RFC 3339, UTC."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, StrEnum) else value


class ReadChanges(Protocol):
    """What the record of changes answers. Only a unit of work writes to it."""

    async def list(
        self,
        *,
        filter: Filter | None = None,
        since: int = 0,
        kind: str | None = None,
        entity_id: int | None = None,
        limit: int,
    ) -> Sequence[Change]:
        """At most `limit` changes with sequence numbers above `since`, rising.

        Those of one entity if it is named, else those that match the filter.
        Who asks again with the last number seen never misses a change.
        """
        ...

    async def last(self) -> int:
        """The highest sequence number of all changes; 0 if there is none."""
        ...

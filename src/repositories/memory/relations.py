"""References between entities in memory: the counterpart of `repositories.tables.relations`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from domain.entities import Entity
from domain.errors import Fault, InUse, Invalid
from domain.references import Reference, ReferentialAction
from repositories.memory.units import MemoryWriting, Referrers

NAMED: Final = 3
"""How many of the referring entities a refusal names."""


class MemoryRelations:
    """The references in one unit of work: whether referred entities exist, and what happens to entities that refer to
    one."""

    def __init__(self, unit: MemoryWriting) -> None:
        self._unit = unit

    def require(self, new: Entity, before: Entity | None) -> None:
        """Raises `Invalid` for each reference to a missing entity, if the reference is new or the entity becomes
        visible."""
        if (faults := self._broken(type(new), new, before)) and not new.is_hidden:
            raise Invalid(sorted(faults, key=lambda fault: fault.pointer))

    def require_many(self, entity: type[Entity], pairs: Sequence[tuple[Any, Entity | None]]) -> None:
        """The same for many entities, given as pairs of new and old state."""
        faults = [
            fault
            for number, (new, before) in enumerate(pairs)
            if not getattr(new, "is_hidden", False)
            for fault in self._broken(entity, new, before, f"/{number}")
        ]
        if faults:
            raise Invalid(faults)

    def _broken(self, entity: type[Entity], new: Any, before: Entity | None, pointer: str = "") -> Sequence[Fault]:
        return [
            Fault(f"{pointer}/{reference.field}", "not_found", f"There is no {reference.to.kind} with this id.")
            for reference in entity.references
            if before is None or before.is_hidden or getattr(before, reference.field) != getattr(new, reference.field)
            if not self._is_there(reference, getattr(new, reference.field))
        ]

    def _is_there(self, reference: Reference, id: int | None) -> bool:
        other = self._unit.tables.rows[reference.to.kind].by_id.get(id)  # type: ignore[arg-type]
        return id is None or (other is not None and not other.is_hidden)

    def release(self, entity: Entity, *, erased: bool) -> None:
        """Do what the references of the entities that refer to this one declare. Raises `InUse`."""
        for referrers in self._unit.tables.referrers_of(entity.kind):
            holders = self._holders(referrers, entity.id, hidden=erased)
            match referrers.reference.on_purge if erased else referrers.reference.on_delete:
                case ReferentialAction.REFUSE if holders:
                    named = [(holder.kind, holder.id) for holder in holders[:NAMED]]
                    raise InUse(referrers.reference.field, named, more=len(holders) > NAMED)
                case ReferentialAction.END:
                    self._end(holders)
                case ReferentialAction.CLEAR:
                    self._clear(holders, referrers.reference.field)
                case ReferentialAction.HIDE:
                    self._hide(holders, entity)

    def bring_back(self, entity: Entity) -> None:
        """Restore the entities that were hidden together with this one. `entity` is its state before the
        restoration."""
        for referrers in self._unit.tables.referrers_of(entity.kind):
            if referrers.reference.on_delete is ReferentialAction.HIDE:
                for before in self._holders(referrers, entity.id, hidden=True):
                    if before.is_hidden:
                        self._change(before, **{str(before.hidden_since): None})
                        self.bring_back(before)

    def _holders(self, referrers: Referrers, id: int, *, hidden: bool) -> Sequence[Entity]:
        rows = self._unit.tables.rows[referrers.entity.kind].by_id
        refer = [row for _, row in sorted(rows.items()) if getattr(row, referrers.reference.field) == id]
        return [row for row in refer if hidden or not row.is_hidden]

    def _end(self, entities: Iterable[Entity]) -> None:
        for entity in entities:
            self.release(entity, erased=True)
            del self._unit.tables.rows[entity.kind].by_id[entity.id]
            self._unit.journal.ended(entity)

    def _clear(self, entities: Iterable[Entity], field: str) -> None:
        for before in entities:
            self._change(before, **{field: None})

    def _hide(self, entities: Iterable[Entity], other: Entity) -> None:
        since = getattr(other, str(other.hidden_since))
        for before in entities:
            hidden: Any = replace(cast("Any", before), **{str(before.hidden_since): since})
            self.release(hidden, erased=False)
            self._change(before, **{str(before.hidden_since): since})

    def _change(self, before: Entity, **values: object) -> None:
        """Change an entity of another kind, as `save` does."""
        changed: Any = {**values, "updated_at": self._unit.now, "version": before.version + 1}
        after: Entity = replace(cast("Any", before), **changed)
        self._unit.tables.rows[before.kind].by_id[before.id] = after
        self._unit.journal.saved(before, after)

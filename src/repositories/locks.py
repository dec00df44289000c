"""The order in which a unit of work locks rows, so that no two units wait for each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import Contended
from repositories.engines.executors import Executor
from repositories.engines.statements import Parameters, Rows

if TYPE_CHECKING:
    from domain.references import Subject


class LockOrder:
    """Decides for each row whether the unit may wait for its lock.

    All rows have one order: entities that others refer to come first, then rows are ordered by kind and id. A unit
    waits for a lock only if the row comes after the last row that it has locked. It locks an earlier row only if that
    row is free. Otherwise the unit is contended and runs again. So units cannot wait for each other in a circle,
    whatever the order in which a service calls its stores.
    """

    def __init__(self, ranks: "Ranks", *, are_needed: bool) -> None:
        self.are_needed = are_needed
        """False if only one unit can write at a time."""

        self._ranks = ranks
        self._held: set[Subject] = set()
        self._last = (-1, "", 0)

    def may_wait(self, kind: str, id: int) -> bool:
        return not self.are_needed or (kind, id) in self._held or self.place(kind, id) > self._last

    def may_wait_for_any(self, kind: str) -> bool:
        """The same for a row of this kind whose id is not known yet."""
        return not self.are_needed or self.place(kind, 0) > self._last

    def locked(self, kind: str, id: int) -> None:
        """Note that this row was locked."""
        if not self.are_needed:
            return
        self._held.add((kind, id))
        self._last = max(self._last, self.place(kind, id))

    def place(self, kind: str, id: int) -> tuple[int, str, int]:
        """The place of a row in the order."""
        return (self._ranks.of(kind), kind, id)


class Ranks:
    """The distance of each kind from the kinds that refer to nothing."""

    def __init__(self, entities: Iterable[type[Entity]]) -> None:
        self._entities = {entity.kind: entity for entity in entities}
        self._ranks = {kind: self._depth(entity) for kind, entity in self._entities.items()}

    def of(self, kind: str) -> int:
        return self._ranks.get(kind, 0)

    def _depth(self, entity: type[Entity]) -> int:
        """References of a kind to itself do not count."""
        others = [each.to for each in entity.references if each.to.kind != entity.kind]
        return max((1 + self._depth(self._entities[each.kind]) for each in others), default=0)


@dataclass(frozen=True, slots=True)
class Locking:
    """A statement that locks the rows that it returns. It either waits for other locks or skips locked rows."""

    waits: sa.Select[Any]
    skips: sa.Select[Any]
    reads: sa.Select[Any]

    @classmethod
    def of(cls, rows: sa.Select[Any], *, shared: bool = False) -> "Locking":
        return cls(rows.with_for_update(read=shared), rows.with_for_update(read=shared, skip_locked=True), rows)

    async def fetch(self, executor: Executor, parameters: Parameters, *, waits: bool) -> Rows:
        """The rows, locked. Raises `Contended` if another unit has locked one of them and `waits` is False."""
        if waits:
            return await executor.fetch(self.waits, parameters)
        rows = await executor.fetch(self.skips, parameters)
        if len(rows) < len(await executor.fetch(self.reads, parameters)):
            raise Contended("Another request is changing the same thing.")
        return rows

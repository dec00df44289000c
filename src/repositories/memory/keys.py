"""API keys in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from domain.errors import Conflict
from domain.keys import Digest, Key, NewKey, Scope
from repositories.memory.table import MemoryReadStore, MemoryStore
from repositories.memory.units import MemoryReading, MemoryWriting
from repositories.tables.writes import write


class MemoryReadKeys(MemoryReadStore[NewKey, Key]):
    def __init__(self, unit: MemoryReading) -> None:
        super().__init__(Key, unit)

    async def digests(self, id: int) -> Sequence[Digest]:
        return list(self._unit.tables.digests.get(id, ()))

    async def any(self) -> bool:
        return bool(self._rows)


class MemoryKeys(MemoryStore[NewKey, Key]):
    def __init__(self, unit: MemoryWriting) -> None:
        super().__init__(Key, unit)

    async def digests(self, id: int) -> Sequence[Digest]:
        return list(self._unit.tables.digests.get(id, ()))

    async def any(self) -> bool:
        return bool(self._rows)

    @write
    async def add_first(self, new: NewKey) -> Key:
        if self._rows:
            raise Conflict("id")
        return await self.add(new)

    @write
    async def save(self, entity: Key) -> Key:
        return await super().save(replace(entity, last_used_at=self._row(entity.id).last_used_at))

    @write
    async def keep_digests(self, id: int, digests: Sequence[Digest]) -> None:
        self.unit.tables.digests[id] = tuple(digests)

    @write
    async def touch(self, id: int, at: datetime) -> None:
        self._rows[id] = replace(self._row(id), last_used_at=at)

    async def has_other_admin(self, than: int, at: datetime) -> bool:
        others = [key for key in self._shown() if key.id != than]
        return any(Scope.KEYS_ADMIN in key.scopes and key.is_valid_at(at) for key in others)

"""Leases in memory."""

from domain.delivery.leases import LOST, Lease
from domain.errors import Stale
from repositories.memory.units import MemoryReading, MemoryWriting


class MemoryLeases:
    def __init__(self, unit: MemoryReading | MemoryWriting) -> None:
        self._unit = unit

    async def find(self, name: str) -> Lease | None:
        return self._unit.tables.leases.get(name)

    async def take(self, name: str, holder: str, seen: Lease | None) -> bool:
        if await self.find(name) != seen:
            return False
        self._unit.tables.leases[name] = Lease(holder, seen.beats + 1 if seen else 1)
        return True

    async def beat(self, name: str, holder: str) -> None:
        held = await self.find(name)
        if held is None or held.holder != holder:
            raise Stale(LOST)
        self._unit.tables.leases[name] = Lease(holder, held.beats + 1)

    async def give_back(self, name: str, holder: str) -> None:
        held = await self.find(name)
        if held is not None and held.holder == holder:
            del self._unit.tables.leases[name]

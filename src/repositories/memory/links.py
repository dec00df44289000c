"""Links to the console in memory."""

from domain.links import Link
from repositories.memory.units import MemoryReading, MemoryWriting


class MemoryReadLinks:
    def __init__(self, unit: MemoryReading | MemoryWriting) -> None:
        self._unit = unit

    async def find(self, digest: bytes) -> Link | None:
        return self._unit.tables.links.get(digest)


class MemoryLinks(MemoryReadLinks):
    def __init__(self, unit: MemoryWriting) -> None:
        super().__init__(unit)
        self._now = unit.now

    async def add(self, link: Link) -> None:
        tables = self._unit.tables
        tables.links = {each.digest: each for each in tables.links.values() if each.until > self._now}
        tables.links[link.digest] = link

    async def take(self, digest: bytes) -> Link | None:
        return self._unit.tables.links.pop(digest, None)

"""Leases in SQL."""

from typing import Final

import sqlalchemy as sa

from domain.delivery.leases import LOST, Lease
from domain.errors import Stale
from repositories.engines.schema import Key, metadata
from repositories.units import Reading, Writing

leases: Final = sa.Table(
    "leases",
    metadata,
    sa.Column("name", Key, primary_key=True),
    sa.Column("holder", Key, nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
)

NAMED: Final = leases.c.name == sa.bindparam("lease")
HELD: Final = (NAMED, leases.c.holder == sa.bindparam("by"))
FIND: Final = sa.select(leases.c.holder, leases.c.beats).where(NAMED)
LOCK: Final = FIND.with_for_update()
ADD: Final = sa.insert(leases)
TAKE: Final = (
    sa.update(leases)
    .where(NAMED)
    .values(holder=sa.bindparam("taker", type_=leases.c.holder.type), beats=leases.c.beats + sa.literal_column("1"))
)
BEAT: Final = (
    sa.update(leases).where(*HELD).values(beats=leases.c.beats + sa.literal_column("1")).returning(leases.c.beats)
)
GIVE_BACK: Final = sa.delete(leases).where(*HELD)


class SqlReadLeases:
    def __init__(self, unit: Reading | Writing) -> None:
        self._executor = unit.executor

    async def find(self, name: str) -> Lease | None:
        for holder, beats in await self._executor.fetch(FIND, {"lease": name}):
            return Lease(holder, beats)
        return None


class SqlLeases(SqlReadLeases):
    def __init__(self, unit: Writing) -> None:
        super().__init__(unit)
        self._write = unit.executor.write

    async def take(self, name: str, holder: str, seen: Lease | None) -> bool:
        rows = await self._executor.fetch(LOCK, {"lease": name})
        if [Lease(*row) for row in rows] != ([] if seen is None else [seen]):
            return False
        if seen is None:
            await self._executor.fetch(ADD, {"name": name, "holder": holder, "beats": 1})
        else:
            await self._executor.fetch(TAKE, {"lease": name, "taker": holder})
        return True

    async def beat(self, name: str, holder: str) -> None:
        await self._write(BEAT, {"lease": name, "by": holder}, otherwise=Stale(LOST))

    async def give_back(self, name: str, holder: str) -> None:
        await self._executor.fetch(GIVE_BACK, {"lease": name, "by": holder})

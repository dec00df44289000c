"""Links to the console in SQL."""

from typing import Final

import sqlalchemy as sa

from domain.links import Link
from repositories.engines.schema import Instant, metadata
from repositories.keys import keys
from repositories.units import Reading, Writing

links: Final = sa.Table(
    "links",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("key_id", sa.BigInteger, sa.ForeignKey(keys.c.id)),
    sa.Column("until", Instant, nullable=False),
    sqlite_with_rowid=False,
)

COLUMNS: Final = (links.c.digest, links.c.key_id, links.c.until)
HASHED: Final = links.c.digest == sa.bindparam("hash")
FIND: Final = sa.select(*COLUMNS).where(HASHED)
TAKE: Final = sa.delete(links).where(HASHED).returning(*COLUMNS)
ADD: Final = sa.insert(links)
TIDY: Final = sa.delete(links).where(links.c.until <= sa.bindparam("now"))


class SqlReadLinks:
    def __init__(self, unit: Reading | Writing) -> None:
        self._executor = unit.executor

    async def find(self, digest: bytes) -> Link | None:
        for row in await self._executor.fetch(FIND, {"hash": digest}):
            return Link(*row)
        return None


class SqlLinks(SqlReadLinks):
    def __init__(self, unit: Writing) -> None:
        super().__init__(unit)
        self._now = unit.now

    async def add(self, link: Link) -> None:
        await self._executor.fetch(TIDY, {"now": self._now})
        await self._executor.fetch(ADD, {"digest": link.digest, "key_id": link.key_id, "until": link.until})

    async def take(self, digest: bytes) -> Link | None:
        for row in await self._executor.fetch(TAKE, {"hash": digest}):
            return Link(*row)
        return None

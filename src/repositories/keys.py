"""API keys in SQL. The hashes of their secrets are columns that are not fields of the entity."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from domain.keys import FIRST_ID, Digest, Key, NewKey, Scope
from domain.lists.fields import ID, declare
from repositories.engines.executors import Executor
from repositories.engines.schema import Instant, Json, entity_columns, metadata
from repositories.engines.statements import bounded
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.tables.writes import write
from repositories.units import Reading, Writing


class ScopeList(sa.types.TypeDecorator[tuple[Scope, ...]]):
    """Scopes as a JSON array."""

    impl = Json
    cache_ok = True

    def process_bind_param(self, value: Sequence[Scope] | None, dialect: sa.Dialect) -> list[str] | None:  # noqa: ARG002
        return None if value is None else [str(scope) for scope in value]

    def process_result_value(self, value: Sequence[str] | None, dialect: sa.Dialect) -> tuple[Scope, ...] | None:  # noqa: ARG002
        return None if value is None else tuple(map(Scope, value))


keys: Final = sa.Table(
    "keys",
    metadata,
    *entity_columns(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", ScopeList, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("rotated_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("hash", sa.LargeBinary),
    sa.Column("old_hash", sa.LargeBinary),
    sa.Column("old_until", Instant),
    sqlite_autoincrement=True,
)

KEYS: Final = EntityTable[NewKey, Key](Key, keys, declare(ID), unsaved=("last_used_at",))

ONE: Final = sa.select(sa.literal_column("1").label("one")).subquery("one")
DIGESTS: Final = sa.select(keys.c.hash, keys.c.old_hash, keys.c.old_until).select_from(
    ONE.outerjoin(keys, keys.c.id == sa.bindparam("id"))
)
"""Always returns a row, so that its duration does not reveal whether the key exists."""

ANY: Final = sa.select(keys.c.id).limit(1)
UNREVOKED_LOCKED: Final = KEYS.rows.where(KEYS.shown).order_by(keys.c.id).with_for_update()
RENUMBER: Final = sa.update(keys).where(keys.c.id == sa.bindparam("drawn_id")).values(id=FIRST_ID)
KEEP_DIGESTS: Final = sa.update(keys).where(keys.c.id == sa.bindparam("kept_id"))
TOUCH: Final = KEEP_DIGESTS.values(last_used_at=sa.bindparam("used_at"))


class SqlReadKeys(SqlReadStore[NewKey, Key]):
    def __init__(self, unit: Reading | Writing) -> None:
        super().__init__(KEYS, unit)

    async def digests(self, id: int) -> Sequence[Digest]:
        return await digests_of(self._executor, id)

    async def any(self) -> bool:
        return bool(await self._executor.fetch(ANY))


class SqlKeys(SqlStore[NewKey, Key]):
    def __init__(self, unit: Writing) -> None:
        super().__init__(KEYS, unit)

    async def digests(self, id: int) -> Sequence[Digest]:
        return await digests_of(self._executor, id)

    async def any(self) -> bool:
        return bool(await self._executor.fetch(ANY))

    @write
    async def add_first(self, new: NewKey) -> Key:
        key = await self.add(new)
        if key.id == FIRST_ID:
            return key
        # On PostgreSQL an INSERT that was undone has used up the first id.
        await self._executor.fetch(RENUMBER, {"drawn_id": key.id})
        return self._renumbered(key)

    def _renumbered(self, key: Key) -> Key:
        first = replace(key, id=FIRST_ID)
        self.unit.journal.forget(key)
        self.unit.journal.added(KEYS.know(self.unit, first))
        return first

    @write
    async def keep_digests(self, id: int, digests: Sequence[Digest]) -> None:
        new, *old = digests
        old_hash, old_until = (old[0].hash, old[0].until) if old else (None, None)
        values = {"hash": new.hash, "old_hash": old_hash, "old_until": old_until, "kept_id": id}
        await self.unit.executor.write(KEEP_DIGESTS, values)

    @write
    async def touch(self, id: int, at: datetime) -> None:
        await self.unit.executor.write(TOUCH, {"kept_id": id, "used_at": at})

    async def has_other_admin(self, than: int, at: datetime) -> bool:
        others = [KEYS.make(*row) for row in await self._executor.fetch(UNREVOKED_LOCKED)]
        return any(key.id != than and Scope.KEYS_ADMIN in key.scopes and key.is_valid_at(at) for key in others)


async def digests_of(executor: Executor, id: int) -> Sequence[Digest]:
    ((hash, old_hash, old_until),) = await executor.fetch(DIGESTS, {"id": bounded(id)})
    return [Digest(each, until) for each, until in ((hash, None), (old_hash, old_until)) if each]

"""API keys in SQL: the table and its store. The hashes of secrets are columns that no entity has."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from domain.changes import Journal
from domain.errors import NotFound, Stale
from domain.keys import FIRST_ID, Digest, Key, NewKey, Scope
from domain.values import is_id
from repositories.engines.executors import Executor
from repositories.engines.schema import BigId, Instant, Json, metadata
from repositories.engines.statements import Row, bounded

keys: Final = sa.Table(
    "keys",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("rotated_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("hash", sa.LargeBinary),
    sa.Column("old_hash", sa.LargeBinary),
    sa.Column("old_until", Instant),
    sqlite_autoincrement=True,
)

KEY: Final = tuple(
    keys.c[name]
    for name in (
        "id", "name", "scopes", "created_at", "updated_at", "version", "expires_at", "rotated_at", "revoked_at",
        "last_used_at",
    )
)  # fmt: skip
"""The columns of a Key, in the order of its fields."""

UNREVOKED: Final = keys.c.revoked_at.is_(None)

GET: Final = sa.select(*KEY).where(keys.c.id == sa.bindparam("id"))
GET_TO_WRITE: Final = GET.with_for_update()
LIST: Final = (
    sa.select(*KEY).where(UNREVOKED, keys.c.id > sa.bindparam("after")).order_by(keys.c.id).limit(sa.bindparam("limit"))
)
ONE: Final = sa.select(sa.literal_column("1").label("one")).subquery("one")
DIGESTS: Final = sa.select(keys.c.hash, keys.c.old_hash, keys.c.old_until).select_from(
    ONE.outerjoin(keys, keys.c.id == sa.bindparam("id"))
)
"""One row in any case: there is no telling by the time it takes whether there is such a key."""

ANY: Final = sa.select(keys.c.id).limit(1)
ALL_UNREVOKED_TO_WRITE: Final = sa.select(*KEY).where(UNREVOKED).order_by(keys.c.id).with_for_update()
ADD: Final = sa.insert(keys).returning(keys.c.id)
RENUMBER: Final = sa.update(keys).where(keys.c.id == sa.bindparam("drawn_id")).values(id=FIRST_ID)
SAVE: Final = (
    sa.update(keys)
    .where(keys.c.id == sa.bindparam("saved_id"), keys.c.version == sa.bindparam("saved_version"))
    .returning(keys.c.id)
)
KEEP_DIGESTS: Final = sa.update(keys).where(keys.c.id == sa.bindparam("kept_id"))
TOUCH: Final = KEEP_DIGESTS.values(last_used_at=sa.bindparam("used_at"))


class SqlReadKeys:
    """The keys as a reading unit of work sees them."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def get(self, id: int) -> Key:
        return await self._one(GET, id)

    async def list(self, *, after: int = 0, limit: int) -> Sequence[Key]:
        rows = await self._executor.fetch(LIST, {"after": bounded(after), "limit": bounded(limit)})
        return [key_of(row) for row in rows]

    async def digests(self, id: int) -> Sequence[Digest]:
        ((hash, old_hash, old_until),) = await self._executor.fetch(DIGESTS, {"id": bounded(id)})
        return [Digest(each, until) for each, until in ((hash, None), (old_hash, old_until)) if each]

    async def any(self) -> bool:
        return bool(await self._executor.fetch(ANY))

    async def _one(self, statement: sa.Select[Any], id: int) -> Key:
        rows = await self._executor.fetch(statement, {"id": id}) if is_id(id) else ()
        if not rows:
            raise NotFound("There is no key with this id.")
        return key_of(rows[0])


class SqlKeys(SqlReadKeys):
    """The keys within one transaction."""

    def __init__(self, executor: Executor, journal: Journal, now: datetime) -> None:
        super().__init__(executor)
        self._journal = journal
        self._now = now

    async def get(self, id: int) -> Key:
        return await self._one(GET_TO_WRITE, id)

    async def add(self, new: NewKey) -> Key:
        return self._added(await self._draw(new), new)

    async def add_first(self, new: NewKey) -> Key:
        if (drawn := await self._draw(new)) != FIRST_ID:  # where ids that are not kept are not given out again
            await self._executor.fetch(RENUMBER, {"drawn_id": drawn})
        return self._added(FIRST_ID, new)

    async def _draw(self, new: NewKey) -> int:
        values = {
            "name": new.name,
            "scopes": list(new.scopes),
            "expires_at": new.expires_at,
            "created_at": self._now,
            "updated_at": self._now,
            "version": 1,
        }
        ((id,),) = await self._executor.fetch(ADD, values)
        return int(id)

    def _added(self, id: int, new: NewKey) -> Key:
        key = Key(id, new.name, new.scopes, self._now, self._now, version=1, expires_at=new.expires_at)
        self._journal.added(key)
        return key

    async def save(self, key: Key) -> Key:
        before = await self._one(GET_TO_WRITE, key.id)
        saved = replace(key, updated_at=self._now, version=key.version + 1, last_used_at=before.last_used_at)
        values = {
            "name": saved.name,
            "scopes": list(saved.scopes),
            "expires_at": saved.expires_at,
            "rotated_at": saved.rotated_at,
            "revoked_at": saved.revoked_at,
            "updated_at": saved.updated_at,
            "version": saved.version,
            "saved_id": key.id,
            "saved_version": key.version,
        }
        if not await self._executor.fetch(SAVE, values):
            raise Stale("The key was changed meanwhile.")
        self._journal.saved(before, saved)
        return saved

    async def keep_digests(self, id: int, digests: Sequence[Digest]) -> None:
        new, *old = digests
        old_hash, old_until = (old[0].hash, old[0].until) if old else (None, None)
        values = {"hash": new.hash, "old_hash": old_hash, "old_until": old_until, "kept_id": id}
        await self._executor.fetch(KEEP_DIGESTS, values)

    async def touch(self, id: int, at: datetime) -> None:
        await self._executor.fetch(TOUCH, {"kept_id": id, "used_at": at})

    async def has_other_admin(self, than: int, at: datetime) -> bool:
        others = [key_of(row) for row in await self._executor.fetch(ALL_UNREVOKED_TO_WRITE)]
        return any(key.id != than and Scope.KEYS_ADMIN in key.scopes and key.is_valid_at(at) for key in others)


def key_of(row: Row) -> Key:
    id, name, scopes, created_at, updated_at, version, expires_at, rotated_at, revoked_at, last_used_at = row
    return Key(
        id,
        name,
        tuple(map(Scope, scopes)),
        created_at,
        updated_at,
        version,
        expires_at,
        rotated_at,
        revoked_at,
        last_used_at,
    )

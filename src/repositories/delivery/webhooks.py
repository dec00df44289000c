"""Webhooks in SQL. Their secrets are columns that are not fields of the entity."""

from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa

from domain.delivery.webhooks import NewWebhook, Progress, Secret, State, Webhook
from domain.lists.fields import ID, declare
from repositories.engines.executors import Executor
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.schema import Choice, Instant, entity_columns, metadata
from repositories.engines.statements import bounded
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.tables.writes import write
from repositories.units import Reading, Writing

webhooks: Final = sa.Table(
    "webhooks",
    metadata,
    *entity_columns(),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("filter", sa.Text),
    sa.Column("state", Choice(State), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("rotated_at", Instant),
    sa.Column("failing_since", Instant),
    sa.Column("silent_until", Instant),
    sa.Column("secret", sa.LargeBinary),
    sa.Column("old_secret", sa.LargeBinary),
    sa.Column("old_until", Instant),
    sqlite_autoincrement=True,
)

UNSAVED: Final = ("position", "failing_since", "silent_until")
WEBHOOKS: Final = EntityTable[NewWebhook, Webhook](Webhook, webhooks, declare(ID), unsaved=UNSAVED)

SECRETS: Final = sa.select(webhooks.c.secret, webhooks.c.old_secret, webhooks.c.old_until).where(
    webhooks.c.id == sa.bindparam("id")
)
KEEP_SECRETS: Final = sa.update(webhooks).where(webhooks.c.id == sa.bindparam("kept_id"))

NOTED: Final = rows_of(webhooks.c.id, *[webhooks.c[name] for name in UNSAVED]).cte("noted")
NOTE: Final = sa.update(webhooks).where(webhooks.c.id == NOTED.c.id).values({name: NOTED.c[name] for name in UNSAVED})


class SqlReadWebhooks(SqlReadStore[NewWebhook, Webhook]):
    def __init__(self, unit: Reading) -> None:
        super().__init__(WEBHOOKS, unit)

    async def secrets(self, id: int) -> Sequence[Secret]:
        return await secrets_of(self._executor, id)


class SqlWebhooks(SqlStore[NewWebhook, Webhook]):
    def __init__(self, unit: Writing) -> None:
        super().__init__(WEBHOOKS, unit)

    async def secrets(self, id: int) -> Sequence[Secret]:
        return await secrets_of(self._executor, id)

    @write
    async def keep_secrets(self, id: int, secrets: Sequence[Secret]) -> None:
        new, *old = secrets
        old_secret, old_until = (old[0].value, old[0].until) if old else (None, None)
        values = {"secret": new.value, "old_secret": old_secret, "old_until": old_until, "kept_id": id}
        await self.unit.executor.write(KEEP_SECRETS, values)

    @write
    async def note_progress(self, progress: Collection[Progress]) -> None:
        rows = [(each.webhook_id, *[getattr(each, name) for name in UNSAVED]) for each in progress]
        await self.unit.executor.write(NOTE, {ROWS: as_parameter(rows)})


async def secrets_of(executor: Executor, id: int) -> Sequence[Secret]:
    for secret, old_secret, old_until in await executor.fetch(SECRETS, {"id": bounded(id)}):
        return [Secret(each, until) for each, until in ((secret, None), (old_secret, old_until)) if each]
    return []

"""Webhooks in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from domain.delivery.webhooks import NewWebhook, Progress, Secret, Webhook
from repositories.memory.table import MemoryReadStore, MemoryStore
from repositories.memory.units import MemoryReading, MemoryWriting
from repositories.tables.writes import write

NOTED: Final = ("position", "failing_since", "silent_until")
"""The fields that only the deliverer writes."""


class MemoryReadWebhooks(MemoryReadStore[NewWebhook, Webhook]):
    def __init__(self, unit: MemoryReading) -> None:
        super().__init__(Webhook, unit)

    async def secrets(self, id: int) -> Sequence[Secret]:
        return list(self._unit.tables.secrets.get(id, ()))


class MemoryWebhooks(MemoryStore[NewWebhook, Webhook]):
    def __init__(self, unit: MemoryWriting) -> None:
        super().__init__(Webhook, unit)

    async def secrets(self, id: int) -> Sequence[Secret]:
        return list(self.unit.tables.secrets.get(id, ()))

    @write
    async def save(self, entity: Webhook) -> Webhook:
        kept = self._row(entity.id)
        return await super().save(replace(entity, **{name: getattr(kept, name) for name in NOTED}))

    def _delete(self, entity: Webhook) -> Webhook:
        tables = self.unit.tables
        tables.secrets.pop(entity.id, None)
        tables.deliveries = {key: each for key, each in tables.deliveries.items() if key[0] != entity.id}
        return super()._delete(entity)

    @write
    async def keep_secrets(self, id: int, secrets: Sequence[Secret]) -> None:
        self.unit.tables.secrets[id] = tuple(secrets)

    @write
    async def note_progress(self, progress: Collection[Progress]) -> None:
        for each in progress:
            if (row := self._rows.get(each.webhook_id)) is not None:
                self._rows[each.webhook_id] = replace(row, **{name: getattr(each, name) for name in NOTED})

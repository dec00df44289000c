"""Deliveries in memory."""

from collections.abc import Sequence
from datetime import datetime

from domain.delivery.deliveries import BY_CHANGE, Delivery, DeliveryState
from domain.delivery.webhooks import State, Webhook
from domain.errors import NotFound
from domain.lists.pages import Position
from repositories.memory.units import MemoryReading, MemoryWriting


class MemoryDeliveries:
    def __init__(self, unit: MemoryReading | MemoryWriting) -> None:
        self._unit = unit

    @property
    def _rows(self) -> dict[tuple[int, int], Delivery]:
        return self._unit.tables.deliveries

    async def get(self, webhook_id: int, change: int) -> Delivery:
        if (webhook_id, change) not in self._rows:
            raise NotFound("There is no delivery of this change.")
        return self._rows[webhook_id, change]

    async def list(
        self, webhook_id: int, *, state: DeliveryState | None = None, after: Position | None = None, limit: int
    ) -> Sequence[Delivery]:
        last = None if after is None else BY_CHANGE.keys_at(after)
        found = [
            each
            for each in self._newest_first(webhook_id)
            if state in (None, each.state) and (last is None or BY_CHANGE.compare((each.change,), last) > 0)
        ]
        return found[: max(0, limit)]

    async def open(self, webhook_id: int) -> Sequence[Delivery]:
        return [each for each in reversed(self._newest_first(webhook_id)) if each.next_at is not None]

    async def asked(self) -> Sequence[Delivery]:
        return [each for _, each in sorted(self._rows.items()) if each.state is DeliveryState.ASKED]

    async def needed_from(self) -> int | None:
        rows = self._unit.tables.rows[Webhook.kind].by_id.values()
        active = {row.id: row.position + 1 for row in rows if row.state is State.ACTIVE}
        waiting = [each.change for each in self._rows.values() if each.webhook_id in active and each.next_at]
        return min([*active.values(), *waiting], default=None)

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            if each.webhook_id in self._unit.tables.rows[Webhook.kind].by_id:
                self._rows[each.webhook_id, each.change] = each

    async def trim(self, webhook_id: int, *, keep: int) -> None:
        for state in (DeliveryState.DELIVERED, DeliveryState.SET_ASIDE):
            old = [each for each in self._newest_first(webhook_id) if each.state is state][keep:]
            for each in old:
                del self._rows[webhook_id, each.change]

    async def forget(self, before: datetime) -> None:
        for key, each in list(self._rows.items()):
            if each.next_at is None and each.at is not None and each.at < before:
                del self._rows[key]

    def _newest_first(self, webhook_id: int) -> Sequence[Delivery]:
        mine = [each for each in self._rows.values() if each.webhook_id == webhook_id]
        return sorted(mine, key=lambda each: -each.change)

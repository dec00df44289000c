"""Operations on deliveries of changes to webhooks."""

import json
from collections.abc import Sequence

from domain.delivery.deliveries import Answer, Delivery, DeliveryState, Post
from domain.delivery.webhooks import RandomBytes, Secret, Webhook, headers_of
from domain.idempotency import Committed
from domain.keys import Scope
from domain.lists.pages import Page, Position
from domain.values import plain
from domain.work import Clock, RequestContext, UnitsOfWork
from services.operations import Service, operation, retry


class DeliveryService(Service):
    def __init__(
        self, units: UnitsOfWork, random_bytes: RandomBytes, post: Post, clock: Clock, context: RequestContext
    ) -> None:
        super().__init__(units, context)
        self._random_bytes = random_bytes
        self._post = post
        self._clock = clock

    @operation(Scope.WEBHOOKS_ADMIN)
    async def list(
        self, webhook_id: int, *, state: DeliveryState | None = None, after: Position | None = None, limit: int
    ) -> Page[Delivery]:
        """The deliveries of a webhook, the newest change first."""
        async with self.units.reading() as work:
            await work.webhooks.get(webhook_id)
            found = await work.deliveries.list(webhook_id, state=state, after=after, limit=limit + 1)
            return Page.of(found, limit)

    @operation(Scope.WEBHOOKS_ADMIN)
    async def send_again(self, webhook_id: int, change: int) -> Committed[Delivery]:
        """Send a change again soon, even if it was delivered or set aside. Raises `NotFound` if the delivery is not
        kept."""
        async with self.units.writing(self.context) as work:
            await work.webhooks.get(webhook_id)
            asked = (await work.deliveries.get(webhook_id, change)).asked(work.now)
            await work.deliveries.put([asked])
            return await work.commit(asked)

    @operation(Scope.WEBHOOKS_ADMIN, retries=False)
    async def test(self, webhook_id: int) -> Answer:
        """Send a test message, and return the answer. Nothing is stored."""
        webhook, secrets = await self._with_secrets(webhook_id)
        at, id = self._clock(), f"msg_test_{self._random_bytes(8).hex()}"
        message = {"type": "webhook.test", "timestamp": plain(at), "data": {"webhook_id": webhook_id}}
        body = json.dumps(message).encode()
        return await self._post(webhook.url, headers_of(id, at, body, secrets), body)

    @retry
    async def _with_secrets(self, id: int) -> tuple[Webhook, Sequence[Secret]]:
        async with self.units.reading() as work:
            return await work.webhooks.get(id), await work.webhooks.secrets(id)

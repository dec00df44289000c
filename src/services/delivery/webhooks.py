"""Operations on webhooks."""

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from domain.delivery.addresses import is_public
from domain.delivery.webhooks import SECRET_BYTES, NewWebhook, RandomBytes, Secret, State, Webhook
from domain.errors import Fault, Invalid
from domain.idempotency import Committed
from domain.journal import differ
from domain.keys import Scope
from domain.lists.pages import Page, Position
from domain.values import JsonObject
from domain.versions import Expected, require_version
from domain.work import RequestContext, UnitsOfWork
from services.operations import Service, operation

MAX_OVERLAP: Final = timedelta(days=30)
DEFAULT_OVERLAP: Final = timedelta(hours=24)


class WebhookService(Service):
    """With `allow_private`, webhooks may have http URLs and private addresses."""

    def __init__(
        self, units: UnitsOfWork, random_bytes: RandomBytes, allow_private: bool, context: RequestContext
    ) -> None:
        super().__init__(units, context)
        self._random_bytes = random_bytes
        self._allow_private = allow_private

    @operation(Scope.WEBHOOKS_ADMIN)
    async def create(self, new: NewWebhook, *, since: int | None = None) -> Committed[tuple[Webhook, Secret]]:
        """Create a webhook. It begins with the change after `since`, or with the next change. Returns it with its
        secret.

        Raises `Invalid` if `since` is beyond the last change, or if the URL is not allowed.
        """
        self._require_allowed(new.url)
        async with self.units.writing(self.context) as work:
            webhook = await work.webhooks.add(new.starting(await work.changes.last(), since))
            secret = Secret(self._random_bytes(SECRET_BYTES))
            await work.webhooks.keep_secrets(webhook.id, [secret])
            return await work.commit((webhook, secret))

    @operation(Scope.WEBHOOKS_ADMIN)
    async def get(self, id: int) -> Webhook:
        async with self.units.reading() as work:
            return await work.webhooks.get(id)

    @operation(Scope.WEBHOOKS_ADMIN)
    async def list(self, *, after: Position | None = None, limit: int) -> Page[Webhook]:
        async with self.units.reading() as work:
            return Page.of(await work.webhooks.list(after=after, limit=limit + 1), limit)

    @operation(Scope.WEBHOOKS_ADMIN)
    async def patch(self, id: int, patch: JsonObject, *, expected: Expected = None) -> Committed[Webhook]:
        """Apply a JSON merge patch. A new filter applies to all changes that were not delivered yet."""
        async with self.units.writing(self.context) as work:
            webhook = await work.webhooks.get(id)
            require_version(webhook.version, expected)
            patched = webhook.patched(patch)
            if not differ(webhook, patched):
                return Committed(webhook)
            self._require_allowed(patched.url)
            return await work.commit(await work.webhooks.save(patched))

    @operation(Scope.WEBHOOKS_ADMIN)
    async def rotate(self, id: int, *, overlap: timedelta = DEFAULT_OVERLAP) -> Committed[tuple[Webhook, Secret]]:
        """Give a webhook a new secret. During the overlap messages are signed with both secrets.

        Raises `Invalid` if the overlap is longer than `MAX_OVERLAP`.
        """
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise Invalid([Fault("/overlap", "out_of_range", f"Must be at most {MAX_OVERLAP.days} days.")])
        async with self.units.writing(self.context) as work:
            webhook = await work.webhooks.get(id)
            before = [Secret(each.value, work.now + overlap) for each in (await work.webhooks.secrets(id))[:1]]
            secret = Secret(self._random_bytes(SECRET_BYTES))
            webhook = await work.webhooks.save(webhook.rotated(work.now))
            await work.webhooks.keep_secrets(id, [secret, *before])
            return await work.commit((webhook, secret))

    @operation(Scope.WEBHOOKS_ADMIN)
    async def pause(self, id: int) -> Committed[Webhook]:
        """Deliver nothing until the webhook is resumed. Changes made meanwhile are delivered then."""
        return await self._set(id, State.PAUSED)

    @operation(Scope.WEBHOOKS_ADMIN)
    async def resume(self, id: int) -> Committed[Webhook]:
        """Deliver again, even if the receiver has answered 410."""
        return await self._set(id, State.ACTIVE)

    async def _set(self, id: int, state: State) -> Committed[Webhook]:
        async with self.units.writing(self.context) as work:
            webhook = await work.webhooks.get(id)
            if webhook.state is state:
                return Committed(webhook)
            saved = await work.webhooks.save(webhook.set_to(state))
            return await work.commit(saved)

    @operation(Scope.WEBHOOKS_ADMIN)
    async def delete(self, id: int, *, expected: Expected = None) -> Committed[Webhook]:
        """Remove a webhook, its secrets and its deliveries. Its own changes are kept."""
        async with self.units.writing(self.context) as work:
            webhook = await work.webhooks.get(id)
            require_version(webhook.version, expected)
            await work.webhooks.end(webhook)
            return await work.commit(webhook)

    def _require_allowed(self, url: str) -> None:
        """Raises `Invalid` for a URL that would never be called. Host names are looked up only when they are called."""
        if self._allow_private:
            return
        parts = urlsplit(url)
        if parts.scheme != "https":
            raise Invalid([Fault("/url", "not_allowed", "Must be an https URL.")])
        if is_private_literal(parts.hostname or ""):
            raise Invalid([Fault("/url", "not_allowed", "Must be a public host.")])


def is_private_literal(host: str) -> bool:
    """Whether a host is an address that is not public, or a name of the local machine."""
    name = host.lower().rstrip(".")
    is_address = ":" in name or name.replace(".", "").isdigit()
    return name == "localhost" or name.endswith(".localhost") or (is_address and not is_public(name))

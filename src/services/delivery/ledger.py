"""The ledger: everything that the deliverer of webhooks reads and writes. Each method is one unit of work."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain import changes
from domain.changes import Change, ChangePage
from domain.delivery.deliveries import Delivery
from domain.delivery.leases import Lease
from domain.delivery.webhooks import Progress, Secret, State, Webhook
from domain.errors import Busy, NotFound, Stale
from domain.lists.filters import Filter, equal, every
from domain.references import Subject
from domain.work import RequestContext, UnitsOfWork
from services.operations import retry

LEASE: Final = "webhooks"
AT_LEAST_S: Final = 0.2
WEBHOOKS_AT_ONCE: Final = 100


class LeaseLost(Exception):  # not an error, but what usually happens
    """Another process holds the lease now. Nothing was stored."""

    def __init__(self) -> None:
        super().__init__("Another process delivers now.")


@dataclass(frozen=True, slots=True)
class Subscription:
    """An active webhook, with its secrets and its open deliveries."""

    webhook: Webhook
    secrets: Sequence[Secret]
    open: Sequence[Delivery]
    """The deliveries that will be tried again."""


class Ledger:
    """Units of work of the deliverer. `holder` is the name of this process in the lease."""

    def __init__(self, units: UnitsOfWork, holder: str) -> None:
        self.units = units
        self.holder = holder
        self._context = RequestContext(actor="webhooks", request_id="-", can_wait=True)

    @retry
    async def any(self) -> bool:
        """Whether there is any webhook."""
        async with self.units.reading() as work:
            return bool(await work.webhooks.list(limit=1))

    @retry
    async def subscriptions(self, after: int) -> tuple[Sequence[Subscription], int | None]:
        """Some active webhooks with ids above `after`, sorted by id, and the next value of `after`, which is None at
        the end."""
        async with self.units.reading() as work:
            found = await work.webhooks.list(after=(after,), limit=WEBHOOKS_AT_ONCE)
            active = [each for each in found if each.state is State.ACTIVE]
            subscriptions = [
                Subscription(each, await work.webhooks.secrets(each.id), await work.deliveries.open(each.id))
                for each in active
            ]
            return subscriptions, found[-1].id if len(found) == WEBHOOKS_AT_ONCE else None

    @retry
    async def subscription(self, id: int) -> Subscription | None:
        """The webhook with this id, if it is active."""
        async with self.units.reading() as work:
            try:
                webhook = await work.webhooks.get(id)
            except NotFound:
                return None
            if webhook.state is not State.ACTIVE:
                return None
            return Subscription(webhook, await work.webhooks.secrets(id), await work.deliveries.open(id))

    @retry
    async def changes(self, since: int, limit: int, filter: Filter | None = None) -> ChangePage:
        """The changes after `since` that match the filter. A reader who continues after the end of the page misses
        none."""
        async with self.units.reading() as work:
            looked_at = since if filter is None else max(since, await work.changes.last())  # before, not after
            return ChangePage.of(await work.changes.list(filter=filter, since=since, limit=limit), limit, looked_at)

    async def follow(self, since: int, limit: int, within_s: float) -> ChangePage:
        """The changes after `since`. If there are none, wait for one and return an empty page.

        A stopping server ends all waits at once. So it waits at least `AT_LEAST_S`, to prevent a busy loop.
        """
        page = await self.changes(since, limit)
        if not page.changes:
            try:
                left_s = await self.units.changed(since, within_s, self._context)
            except Busy:  # too many others wait
                left_s = 0
            if not left_s:
                await asyncio.sleep(AT_LEAST_S)
        return page

    @retry
    async def last(self) -> int:
        async with self.units.reading() as work:
            return await work.changes.last()

    @retry
    async def change(self, seq: int) -> Change | None:
        """The change with this number, if it is still kept."""
        async with self.units.reading() as work:
            found = await work.changes.list(since=seq - 1, limit=1)
            return found[0] if found and found[0].seq == seq else None

    @retry
    async def next_of(self, subject: Subject, since: int, filter: Filter | None) -> Change | None:
        """The first change of an entity after `since` that matches the filter."""
        kind, id = subject
        its_own = every([equal(changes.FIELDS["kind"], kind), equal(changes.FIELDS["entity_id"], id), filter])
        async with self.units.reading() as work:
            return next(iter(await work.changes.list(filter=its_own, since=since, limit=1)), None)

    @retry
    async def asked(self) -> Sequence[Delivery]:
        """The deliveries that somebody asked to send again now."""
        async with self.units.reading() as work:
            return await work.deliveries.asked()

    @retry
    async def lease(self) -> Lease | None:
        async with self.units.reading() as work:
            return await work.leases.find(LEASE)

    @retry
    async def take_lease(self, seen: Lease | None) -> bool:
        """Take the lease, if it has not changed since it was `seen`."""
        async with self.units.writing(self._context) as work:
            taken = await work.leases.take(LEASE, self.holder, seen)
            await work.commit(None)
            return taken

    @retry
    async def give_lease_back(self) -> None:
        async with self.units.writing(self._context) as work:
            await work.leases.give_back(LEASE, self.holder)
            await work.commit(None)

    @retry
    async def keep(self, progress: Collection[Progress], deliveries: Sequence[Delivery]) -> None:
        """Store the progress of webhooks and their deliveries, and renew the lease. Raises `LeaseLost`."""
        async with self.units.writing(self._context) as work:
            try:
                await work.leases.beat(LEASE, self.holder)
                if deliveries:
                    await work.deliveries.put(deliveries)
                if progress:
                    await work.webhooks.note_progress(progress)
                await work.commit(None)
            except Stale:
                raise LeaseLost from None

    @retry
    async def trim(self, webhook_ids: Collection[int], *, keep: int) -> None:
        """Remove all but the newest deliveries of these webhooks."""
        async with self.units.writing(self._context) as work:
            for id in webhook_ids:
                await work.deliveries.trim(id, keep=keep)
            await work.commit(None)

    @retry
    async def forget(self, before: datetime) -> None:
        """Remove the deliveries of all webhooks from before this time."""
        async with self.units.writing(self._context) as work:
            await work.deliveries.forget(before)
            await work.commit(None)

    @retry
    async def disable(self, id: int) -> None:
        """Disable a webhook, because its receiver wants no more messages."""
        context = RequestContext(actor=f"webhook:{id}", request_id="-")
        async with self.units.writing(context) as work:
            try:
                webhook = await work.webhooks.get(id)
            except NotFound:
                return
            await work.webhooks.save(webhook.set_to(State.DISABLED))
            await work.commit(None)

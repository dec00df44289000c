"""The deliverer: one task in one process, which follows the feed of changes and sends them to webhooks.

One reader follows the feed for all webhooks that have reached its end. A webhook that is behind reads the feed by
itself. A webhook that has nothing to send has no task, and webhooks with the same filter share its evaluation, so idle
webhooks cost almost nothing. The progress of all webhooks is stored together, a few times a second (`Outbox.news`). So
after a crash a message may be sent twice, and none is left out.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from domain.changes import Change
from domain.delivery.webhooks import Webhook
from domain.errors import Refusal
from domain.lists.filters import matches
from services.delivery.lease import BEAT_EVERY_S, GONE_AFTER_S, LOOK_EVERY_S, hold_lease
from services.delivery.ledger import LeaseLost, Subscription
from services.delivery.outbox import Outbox
from services.delivery.sender import PAGE, Sender, SenderDependencies, Spawn, seconds_between

STORE_EVERY_S: Final = 0.05
WAIT_S: Final = 30.0
GATHER_S: Final = 0.025
"""The pause before the next changes are read. Without it, each write would cause a read, which costs as much."""

GATHER_UNWANTED_S: Final = 0.1
"""The same pause after changes that no webhook wants."""

IDLE_EVERY_S: Final = 60.0
"""How often the position of webhooks that have nothing to send is stored."""

TRIM_EVERY_S: Final = 300.0
TRIMMED_AT_ONCE: Final = 20
KEPT_DELIVERIES: Final = 1000
KEPT_FOR: Final = timedelta(days=30)

LAST_ANSWERS_S: Final = 5.0
"""How long a stopping server waits for the answers to messages that were sent."""

GIVEN_UP_AFTER_S: Final = GONE_AFTER_S / 2
"""If nothing could be stored for so long, this process stops sending."""

AFTER_REFUSAL_S: Final = 1.0


class Deliverer:
    """Delivers the changes of all webhooks.

    `alone` says that no other process can deliver: see `hold_lease`.
    """

    def __init__(self, dependencies: SenderDependencies, monotonic: Callable[[], float], *, alone: bool) -> None:
        self._dependencies = dependencies
        self._ledger = dependencies.ledger
        self._monotonic = monotonic
        self._alone = alone
        self._woken = asyncio.Event()
        self._storing = asyncio.Lock()
        self._senders: dict[int, Sender] = {}
        self._following: dict[str | None, set[Sender]] = {}
        self._head = 0
        self._done_at: dict[str, float] = {}
        self._stored_at = 0.0

    async def run(self) -> None:
        """Deliver until it is cancelled, while there are webhooks and no other process delivers."""
        while True:
            try:
                if not await self._ledger.any():
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                await hold_lease(self._ledger, self._monotonic, alone=self._alone)
                self._stored_at = self._monotonic()
                await self._deliver()
            except* (LeaseLost, Refusal):  # begin again from what is stored
                await asyncio.sleep(AFTER_REFUSAL_S)

    async def _wake_up(self, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._woken.wait()
        self._woken.clear()

    async def _deliver(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._open_all(tasks.create_task)
                tasks.create_task(self._read(tasks.create_task))
                tasks.create_task(self._keep())
        finally:
            self._senders.clear()
            self._following.clear()
            self._dependencies.meter.lag(0)

    async def finish(self) -> None:
        """Stop sending, wait some seconds for answers, store the progress, and give the lease back."""
        senders = list(self._senders.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ANSWERS_S):
                await asyncio.gather(*(sender.drain() for sender in senders))
        if senders:
            with suppress(LeaseLost, Refusal):
                await self._store(senders)
                await self._ledger.give_lease_back()

    async def _open_all(self, spawn: Spawn) -> None:
        self._head = await self._ledger.last()
        after: int | None = 0
        while after is not None:
            subscriptions, after = await self._ledger.subscriptions(after)
            for each in subscriptions:
                self._open(each, spawn, at_once=False)

    def _open(self, subscription: Subscription, spawn: Spawn, *, at_once: bool) -> None:
        outbox = Outbox(subscription, self._dependencies.clock(), at_once=at_once)
        sender = Sender(outbox, self._dependencies, spawn, follow=self._follow, noted=self._woken.set)
        self._senders[outbox.webhook.id] = sender
        sender.follows = self._follow(sender)
        if not (sender.follows and outbox.is_idle):
            sender.wake()

    def _follow(self, sender: Sender) -> bool:
        """Add the sender to the shared reader, if it has caught up with it. Returns whether it has."""
        if sender.outbox.read_to < self._head:
            return False
        self._following.setdefault(sender.outbox.webhook.filter, set()).add(sender)
        return True

    async def _close(self, id: int) -> None:
        if (sender := self._senders.pop(id, None)) is not None:
            self._following.get(sender.outbox.webhook.filter, set()).discard(sender)
            await sender.close()
            await self._store([sender])

    async def _read(self, spawn: Spawn) -> None:
        """Follow the feed. If a webhook itself was changed, open it again."""
        while True:
            page = await self._ledger.follow(self._head, PAGE, WAIT_S)
            if not page.changes:
                continue
            wanted = self._share(page.changes, page.end)
            for id in {change.entity_id for change in page.changes if change.kind == Webhook.kind}:
                await self._close(id)
                if (subscription := await self._ledger.subscription(id)) is not None:
                    self._open(subscription, spawn, at_once=True)
            await asyncio.sleep(GATHER_S if wanted else GATHER_UNWANTED_S)

    def _share(self, changes: Sequence[Change], end: int) -> bool:
        """Offer changes to the senders that follow. Returns whether any of them wants one."""
        any_matching = False
        for senders in self._following.values():
            wanted = next((sender.outbox.wanted for sender in senders), None)
            matching = [change for change in changes if matches(wanted, change)]
            any_matching = any_matching or bool(matching)
            for sender in list(senders) if matching else ():
                sender.offer(matching, self._head, end)
                if not sender.follows:
                    senders.discard(sender)
        self._following = {filter: senders for filter, senders in self._following.items() if senders}
        self._head = end
        return any_matching

    async def _keep(self) -> None:
        """Store the progress, renew the lease, and do the periodic work."""
        while True:
            await self._wake_up(LOOK_EVERY_S)
            if self._is_time("idle", IDLE_EVERY_S):
                self._advance_idle()
            news = [sender for sender in self._senders.values() if sender.outbox.has_news]
            if news:
                await asyncio.sleep(STORE_EVERY_S)  # to store more at once
            if news or (not self._alone and self._monotonic() - self._stored_at >= BEAT_EVERY_S):
                await self._store_or_wait(news)
            if self._is_time("look", LOOK_EVERY_S):
                await self._take_what_is_asked()
                self._dependencies.meter.lag(self._lag())
            if self._is_time("trim", TRIM_EVERY_S):
                await self._trim()

    async def _trim(self) -> None:
        """Remove old deliveries, of a few webhooks at a time, so that others can write in between."""
        ids = list(self._senders)
        for first in range(0, len(ids), TRIMMED_AT_ONCE):
            await self._ledger.trim(ids[first : first + TRIMMED_AT_ONCE], keep=KEPT_DELIVERIES)
        await self._ledger.forget(self._dependencies.clock() - KEPT_FOR)

    def _advance_idle(self) -> None:
        for sender in self._senders.values():
            if sender.follows:
                sender.outbox.advance(self._head)

    def _is_time(self, what: str, every_s: float) -> bool:
        now = self._monotonic()
        if now - self._done_at.get(what, float("-inf")) < every_s:
            return False
        self._done_at[what] = now
        return True

    async def _store_or_wait(self, senders: Collection[Sender]) -> None:
        """Store the progress. If that fails, try again the next time, but give up before another process takes over."""
        try:
            await self._store(senders)
        except Refusal:
            if self._monotonic() - self._stored_at >= GIVEN_UP_AFTER_S:
                raise

    async def _store(self, senders: Collection[Sender]) -> None:
        """Store the progress of these senders in one transaction. Raises `LeaseLost`."""
        async with self._storing:
            news = [(sender.outbox, *sender.outbox.news()) for sender in senders]
            began = self._monotonic()
            try:
                await self._ledger.keep(
                    [progress for _, progress, _ in news], [each for _, _, noted in news for each in noted]
                )
                self._stored_at = began
            except BaseException:
                for outbox, _, noted in news:
                    outbox.not_stored(noted)
                raise

    async def _take_what_is_asked(self) -> None:
        for delivery in await self._ledger.asked():
            if (sender := self._senders.get(delivery.webhook_id)) is not None:
                sender.outbox.ask(delivery)
                sender.wake()

    def _lag(self) -> float:
        now = self._dependencies.clock()
        return max((seconds_between(sender.outbox.oldest(), now) for sender in self._senders.values()), default=0.0)

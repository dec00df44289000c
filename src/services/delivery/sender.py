"""The sender: the tasks that send the messages of one outbox. If the outbox is empty, there are no tasks."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from domain.changes import Change
from domain.deliveries import Answer, Post, Random, Verdict, message_id, message_of
from domain.webhooks import headers_of
from domain.work import Clock
from services.delivery.ledger import Ledger
from services.delivery.outbox import Attempt, Outbox

PAGE: Final = 250
"""How many changes are read at once."""


class DeliveryMeter(Protocol):
    def attempted(self, outcome: str) -> None:
        """A message was sent. The outcome is the verdict on the answer, or `set_aside`."""
        ...

    def lag(self, seconds: float) -> None:
        """The age of the oldest change that is not delivered yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderDependencies:
    """Everything that senders share."""

    ledger: Ledger
    post: Post
    meter: DeliveryMeter
    clock: Clock
    random: Random


Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Sender:
    """Sends the messages of one outbox.

    A sender that `follows` gets its changes from the shared reader (`offer`). A sender that is behind reads by itself.
    After each read it calls `follow`, which returns whether it has caught up and follows from now on. `noted` is called
    when there is something to store.
    """

    def __init__(
        self,
        outbox: Outbox,
        dependencies: SenderDependencies,
        spawn: Spawn,
        *,
        follow: Callable[["Sender"], bool],
        noted: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self.follows = False
        self._dependencies = dependencies
        self._spawn = spawn
        self._follow = follow
        self._noted = noted
        self._signal = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look for something to do."""
        self._signal.set()
        if self._worker is None:
            self._worker = self._spawn(self._work())

    def offer(self, changes: Sequence[Change], before: int, end: int) -> None:
        """Take the matching changes after `before` up to `end`. If there is no room for them, the sender is behind from
        now on."""
        if self.outbox.has_room:
            self.outbox.add(changes, end)
        else:
            self.outbox.advance(before)
            self.follows = False
        self.wake()

    async def close(self) -> None:
        """Stop at once. A message that was just sent may arrive, and will be sent again."""
        tasks = [task for task in (self._worker, *self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def drain(self) -> None:
        """Send nothing new. Return when all messages that were sent are answered."""
        self.outbox.has_ended = True
        if self._sending:
            await asyncio.wait(self._sending)

    async def _work(self) -> None:
        while not self.outbox.has_ended:
            self._signal.clear()
            if not self.follows and self.outbox.is_low:
                await self._read_more()
            while (attempt := self.outbox.take(self._dependencies.clock())) is not None:
                self._send_in_background(attempt)
                await asyncio.sleep(0)  # let requests run in between
            if self.follows and self.outbox.is_idle:
                break
            await self._signalled()
        self._worker = None

    async def _read_more(self) -> None:
        outbox = self.outbox
        page = await self._dependencies.ledger.changes(outbox.read_to, PAGE, outbox.wanted)
        outbox.add(page.changes, page.end)
        self._noted()
        self.follows = self._follow(self)
        if not self.follows:
            self._signal.set()

    async def _signalled(self) -> None:
        """Wait for a signal, or until the next message is due."""
        due_at = self.outbox.wakes_at()
        wait_s = None if due_at is None else (due_at - self._dependencies.clock()).total_seconds()
        if wait_s is not None and wait_s <= 0:
            wait_s = None  # it is due, but has to wait for another message
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._signal.wait()

    def _send_in_background(self, attempt: Attempt) -> None:
        task = self._spawn(self._send(attempt))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, attempt: Attempt | None) -> None:
        """Send this message, then the next one, until there is none."""
        while attempt is not None:
            await self._try(attempt)
            self._noted()
            if not self.follows and self.outbox.is_low:
                self._signal.set()
            attempt = self.outbox.take(self._dependencies.clock())
        self._signal.set()

    async def _try(self, attempt: Attempt) -> None:
        change = attempt.change or await self._dependencies.ledger.change(attempt.delivery.change)
        if change is None:
            if self.outbox.is_lost(attempt):
                await self._go_on(attempt, None)
            return
        answer = await self._post(change)
        self._dependencies.meter.attempted(answer.verdict)
        if self.outbox.answered(attempt, answer, self._dependencies.clock(), self._dependencies.random):
            await self._go_on(attempt, answer)
        if answer.verdict is Verdict.GONE:
            await self._dependencies.ledger.disable(self.outbox.webhook.id)

    async def _post(self, change: Change) -> Answer:
        webhook, body = self.outbox.webhook, message_of(change)
        headers = headers_of(message_id(change, webhook.id), self._dependencies.clock(), body, self.outbox.secrets)
        return await self._dependencies.post(webhook.url, headers, body)

    async def _go_on(self, attempt: Attempt, answer: Answer | None) -> None:
        """Look up the next change of the entity. If more changes were read meanwhile, look again: there may be one
        among them."""
        outbox, delivery = self.outbox, attempt.delivery
        while True:
            read_to = outbox.read_to
            then = await self._dependencies.ledger.next_of(delivery.subject, delivery.change, outbox.wanted)
            if then is not None or outbox.read_to == read_to:
                break
        outbox.go_on(attempt, answer, self._dependencies.clock(), self._dependencies.random, then)


def seconds_between(earlier: datetime | None, later: datetime) -> float:
    return 0.0 if earlier is None else max(0.0, (later - earlier).total_seconds())

"""The sender: the tasks that send the messages of one outbox. If the outbox is empty, there are no tasks."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from domain.changes import Change
from domain.delivery.deliveries import Answer, Post, Random, Verdict, message_id, message_of
from domain.delivery.webhooks import headers_of
from domain.values import JsonObject
from domain.work import Clock
from services.delivery.ledger import Ledger
from services.delivery.outbox import Attempt, Outbox

PAGE: Final = 250
"""How many changes are read at once."""


class DeliveryMeter(Protocol):
    def attempted(self, outcome: str) -> None:
        """A message was sent. The outcome is the verdict on the answer."""
        ...

    def lag(self, seconds: float) -> None:
        """The age of the oldest change that is not delivered yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderDependencies:
    """Everything that senders share."""

    ledger: Ledger
    post: Post
    encode: Callable[[JsonObject], bytes]
    """Writes JSON."""

    meter: DeliveryMeter
    clock: Clock
    random: Random


Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Sender:
    """Sends the messages of one outbox.

    A sender that `follows` gets its changes from the shared reader (`offer`). A sender that is behind reads by itself.
    After each read it calls `follow`, which returns whether it has caught up and follows from now on. `noted` is called
    when there is something to store.

    One task, the worker, sends all fresh changes and notes their answers, because a task for each message costs more
    than the message. Only what has to wait for the database has a task of its own.
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
        self._reading: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Future[Any]] = set()
        self._answered: deque[tuple[Attempt, asyncio.Future[Answer]]] = deque()

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
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker, *self._under_way])

    async def drain(self) -> None:
        """Send nothing new. Return when all messages that were sent are answered."""
        self.outbox.has_ended = True
        if self._worker is not None:
            self._signal.set()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        """Note the answers that have come and send what can be sent, until there is nothing left to do."""
        try:
            while not self._is_done:
                self._signal.clear()
                self._note_answers()
                self._read_on()
                self._send_all()
                if not self._is_done:
                    await self._signalled()
        finally:
            self._worker = None
            for each in self._under_way:
                each.cancel()

    @property
    def _is_done(self) -> bool:
        if self._under_way or self._answered:
            return False
        return self.outbox.has_ended or (self.follows and self.outbox.is_idle)

    async def _signalled(self) -> None:
        """Wait for a signal, or until the next message is due."""
        due_at = self.outbox.wakes_at()
        wait_s = None if due_at is None else (due_at - self._dependencies.clock()).total_seconds()
        if wait_s is None or wait_s <= 0:  # if it is due, it has to wait for another message
            await self._signal.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._signal.wait()

    def _read_on(self) -> None:
        """Read more in the background, if there is little left to send."""
        if not self.follows and self._reading is None and self.outbox.is_low and not self.outbox.has_ended:
            self._reading = self._run(self._read_more())

    async def _read_more(self) -> None:
        outbox = self.outbox
        try:
            page = await self._dependencies.ledger.changes(outbox.read_to, PAGE, outbox.wanted)
        finally:
            self._reading = None
        outbox.add(page.changes, page.end)
        self._noted()
        self.follows = self._follow(self)

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._spawn(work)
        self._under_way.add(task)
        task.add_done_callback(self._is_over)
        return task

    def _is_over(self, ended: asyncio.Future[Any]) -> None:
        self._under_way.discard(ended)
        self._signal.set()

    def _send_all(self) -> None:
        now = self._dependencies.clock()
        while (attempt := self.outbox.take(now)) is not None:
            if attempt.change is None:
                self._run(self._send_again(attempt))
            else:
                answer = asyncio.ensure_future(self._post(attempt.change))
                self._under_way.add(answer)
                answer.add_done_callback(partial(self._has_answer, attempt))

    def _has_answer(self, attempt: Attempt, answer: asyncio.Future[Answer]) -> None:
        self._answered.append((attempt, answer))
        self._is_over(answer)

    def _note_answers(self) -> None:
        while self._answered:
            attempt, answer = self._answered.popleft()
            self._note(attempt, answer.result())

    def _note(self, attempt: Attempt, answer: Answer) -> bool:
        """Note an answer. Returns whether the next change of the entity has to be looked up."""
        self._dependencies.meter.attempted(answer.verdict)
        goes_on = self.outbox.answered(attempt, answer, self._dependencies.clock(), self._dependencies.random)
        if answer.verdict is Verdict.GONE:
            self._run(self._dependencies.ledger.disable(self.outbox.webhook.id))
        self._noted()
        return goes_on

    def _post(self, change: Change) -> Awaitable[Answer]:
        webhook, body = self.outbox.webhook, self._dependencies.encode(message_of(change))
        headers = headers_of(message_id(change, webhook.id), self._dependencies.clock(), body, self.outbox.secrets)
        return self._dependencies.post(webhook.url, headers, body)

    async def _send_again(self, attempt: Attempt) -> None:
        """Send a delivery, whose change has to be read first."""
        change = await self._dependencies.ledger.change(attempt.delivery.change)
        if change is None:
            if self.outbox.is_lost(attempt):
                await self._go_on(attempt, None)
        else:
            answer = await self._post(change)
            if self._note(attempt, answer):
                await self._go_on(attempt, answer)
        self._noted()

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

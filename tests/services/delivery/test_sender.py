"""How the sender of one outbox sends, reads on, stops and stores: on the fake, with a receiver that answers when it is
told, in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, Final

import pytest
from pydantic_core import to_json
from tests.services.virtual_time import START, clock, in_virtual_time, monotonic, settled

from domain.changes import Change, ChangePage
from domain.delivery.deliveries import Answer, Delivery, DeliveryState, message_id, message_of
from domain.delivery.webhooks import NewWebhook, Secret, State, headers_of
from domain.lists.filters import Filter
from domain.references import Subject
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.delivery import outbox as outboxes
from services.delivery import sender as senders
from services.delivery.ledger import Ledger, Subscription
from services.delivery.outbox import Outbox
from services.delivery.sender import Sender, SenderDependencies, seconds_between
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
URL: Final = "https://example.org/hooks"
OK: Final = Answer(milliseconds=1, status=204)
FAILED: Final = Answer(milliseconds=1, status=500)
GONE: Final = Answer(milliseconds=1, status=410)
ALICE, BOB, CAROL = 1, 2, 3


class WatchedLedger(Ledger):
    """Records where it was read from, and does something before it returns the next change of an entity."""

    def __init__(self, units: MemoryUnitsOfWork) -> None:
        super().__init__(units, "this process")
        self.read_from: list[int] = []
        self.looked_up: list[int] = []
        self.meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def changes(self, since: int, limit: int, filter: Filter | None = None) -> ChangePage:
        self.read_from.append(since)
        return await super().changes(since, limit, filter)

    async def next_of(self, subject: Subject, since: int, filter: Filter | None) -> Change | None:
        self.looked_up.append(since)
        found = await super().next_of(subject, since, filter)
        if self.meanwhile is not None:
            do, self.meanwhile = self.meanwhile, None
            await do()
        return found


class Sending:
    """A webhook with users to send, its sender, and its receiver."""

    def __init__(self) -> None:
        self.units = MemoryUnitsOfWork(clock)
        self.ledger = WatchedLedger(self.units)
        self.users = UserService(self.units, CONTEXT)
        self.posted: dict[int, asyncio.Future[Answer]] = {}
        self.posts: list[tuple[str, Mapping[str, str], bytes]] = []
        self.sent_at: list[tuple[int, float]] = []
        self.outcomes: list[str] = []
        self.times_noted = 0
        self.has_caught_up = True
        self.tasks: list[asyncio.Task[None]] = []
        self.numbers = count()

    async def user(self) -> int:
        """Creates a user. Returns the number of the change."""
        seq = (await self.users.create(NewUser(name="Alice"))).seq
        assert seq is not None
        return seq

    async def change(self, id: int) -> int:
        seq = (await self.users.patch(id, {"name": f"Alice {next(self.numbers)}"})).seq
        assert seq is not None
        return seq

    async def forget(self, up_to: int) -> None:
        """Removes these changes from the record."""
        async with self.units.writing(CONTEXT) as work:
            await work.changes.trim(before=clock().replace(year=2030), up_to=up_to, limit=99)
            await work.commit(None)

    async def found(self, seq: int) -> Change:
        found = await self.ledger.change(seq)
        assert found is not None
        return found

    async def waiting(self, seq: int, *, due_s: float = 0, holds: bool = True) -> Delivery:
        """The delivery of a change that has failed before."""
        due = START.replace(second=int(due_s))
        return Delivery.of(await self.found(seq), 1, holds=holds, next_at=due)

    async def open(self, *deliveries: Delivery, position: int = 0, follows: bool = True, **given: Any) -> Sender:
        async with self.units.writing(CONTEXT) as work:
            webhook = await work.webhooks.add(NewWebhook(url=URL, filter='kind eq "user"', position=position))
            await work.commit(None)
        subscription = Subscription(replace(webhook, **given), [Secret(b"s")], deliveries)
        sender = Sender(
            Outbox(subscription, clock(), at_once=False),
            SenderDependencies(
                ledger=self.ledger, post=self.post, encode=to_json, meter=self, clock=clock, random=lambda: 0.5
            ),
            self.spawn,
            follow=lambda each: self.has_caught_up,
            noted=self.note,
        )
        if follows:
            sender.follows = True
        return sender

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seq: int = json.loads(body)["data"]["seq"]
        self.posts.append((url, headers, body))
        self.sent_at.append((seq, monotonic()))
        self.posted[seq] = asyncio.get_running_loop().create_future()
        return await self.posted[seq]

    @property
    def sent(self) -> list[int]:
        return [seq for seq, _ in self.sent_at]

    async def answer(self, seq: int, answer: Answer = OK) -> None:
        self.posted[seq].set_result(answer)
        await settled()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self.tasks.append(task)
        return task

    def note(self) -> None:
        self.times_noted += 1

    def attempted(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def lag(self, seconds: float) -> None: ...

    @property
    def running(self) -> int:
        return sum(not task.done() for task in self.tasks)


@asynccontextmanager
async def sending() -> AsyncIterator[Sending]:
    """At its end, no task has failed."""
    its = Sending()
    yield its
    for task in its.tasks:
        if task.done() and not task.cancelled():
            task.result()
        task.cancel()
    await asyncio.gather(*its.tasks, return_exceptions=True)


async def offer(its: Sending, sender: Sender, *seqs: int, before: int | None = None) -> None:
    """Offers changes to a sender that has caught up."""
    sender.offer([await its.found(seq) for seq in seqs], seqs[0] - 1 if before is None else before, seqs[-1])
    await settled()


# Sending


@in_virtual_time
async def test_a_message_has_the_headers_and_the_body_of_standard_webhooks() -> None:
    async with sending() as its:
        sender = await its.open()
        seq = await its.user()
        await asyncio.sleep(5)
        await offer(its, sender, seq)
        change = await its.found(seq)
        body = to_json(message_of(change))
        assert its.posts == [
            (URL, headers_of(message_id(change, 1), START.replace(second=5), body, [Secret(b"s")]), body)
        ]


@in_virtual_time
async def test_an_idle_sender_has_no_task_and_continues_when_there_is_work() -> None:
    async with sending() as its:
        sender = await its.open()
        sender.wake()
        await settled()
        assert its.running == 0
        for _ in range(2):
            seq = await its.user()
            await offer(its, sender, seq)
            assert its.running == 1
            await its.answer(seq)
            assert its.running == 0


@in_virtual_time
async def test_a_sender_has_one_worker_however_often_it_is_woken() -> None:
    async with sending() as its:
        sender = await its.open()
        first, second = await its.user(), await its.user()
        await offer(its, sender, first)
        await offer(its, sender, second)
        sender.wake()
        await settled()
        assert len(its.tasks) == 1


@in_virtual_time
async def test_a_change_that_arrives_before_the_answer_to_another_is_sent_at_once() -> None:
    async with sending() as its:
        sender = await its.open()
        first, second = await its.user(), await its.user()
        await offer(its, sender, first)
        await offer(its, sender, second)
        assert its.sent == [first, second]


@in_virtual_time
async def test_each_answer_is_counted_and_noted() -> None:
    async with sending() as its:
        sender = await its.open()
        first, second = await its.user(), await its.user()
        await offer(its, sender, first, second)
        await its.answer(first)
        assert (its.outcomes, its.times_noted) == (["delivered"], 1)
        await its.answer(second, FAILED)
        assert (its.outcomes, its.times_noted) == (["delivered", "failed"], 2)
        assert {each.change: each.state for each in sender.outbox.news()[1]} == {
            first: DeliveryState.DELIVERED,
            second: DeliveryState.RETRYING,
        }


@in_virtual_time
async def test_a_receiver_that_is_gone_disables_its_webhook_and_gets_nothing_more() -> None:
    async with sending() as its:
        sender = await its.open()
        first, second = await its.user(), await its.user()
        await offer(its, sender, first)
        await its.answer(first, GONE)
        await offer(its, sender, second)
        assert its.sent == [first]
        async with its.units.reading() as work:
            assert (await work.webhooks.get(1)).state is State.DISABLED
        assert its.running == 0


@in_virtual_time
async def test_a_failed_message_is_retried_when_it_is_due() -> None:
    async with sending() as its:
        sender = await its.open()
        seq = await its.user()
        began = monotonic()
        await offer(its, sender, seq)
        await its.answer(seq, FAILED)
        await asyncio.sleep(30)
        assert its.sent == [seq, seq]
        assert its.sent_at[1][1] == pytest.approx(began + 5, abs=0.01)


@in_virtual_time
async def test_a_delivery_that_is_due_waits_if_another_message_has_to_be_answered_first() -> None:
    async with sending() as its:
        seqs = [await its.user(), await its.user()]
        sender = await its.open(*[await its.waiting(seq) for seq in seqs], position=9, failing_since=START)
        sender.wake()
        await asyncio.sleep(60)
        assert its.sent == [seqs[0]]
        await its.answer(seqs[0])
        assert its.sent == seqs


# What is sent again


@in_virtual_time
async def test_the_next_change_of_an_entity_follows_a_successful_delivery() -> None:
    async with sending() as its:
        first, other, second = await its.user(), await its.user(), await its.change(ALICE)
        sender = await its.open(await its.waiting(first), position=9)
        sender.wake()
        await settled()
        assert its.sent == [first]
        await its.answer(first)
        assert its.sent == [first, second]
        await its.answer(second)
        assert its.ledger.looked_up == [first, second]
        assert other not in its.sent
        assert its.running == 0


@in_virtual_time
async def test_a_delivery_whose_change_was_removed_is_set_aside_and_the_next_one_is_sent() -> None:
    async with sending() as its:
        first, second = await its.user(), await its.change(ALICE)
        sender = await its.open(await its.waiting(first), position=9)
        await its.forget(up_to=first)
        sender.wake()
        await settled()
        assert its.sent == [second]
        assert its.times_noted == 1
        (aside, waiting) = sender.outbox.news()[1]
        assert (aside.change, aside.state, waiting.change) == (first, DeliveryState.SET_ASIDE, second)


@in_virtual_time
async def test_no_next_change_is_looked_up_after_a_delivery_that_holds_nothing() -> None:
    async with sending() as its:
        first, second = await its.user(), await its.user()
        await its.change(ALICE)
        sender = await its.open(
            await its.waiting(first, holds=False), await its.waiting(second, holds=False), position=9
        )
        await its.forget(up_to=first)
        sender.wake()
        await settled()
        assert its.sent == [second]
        assert its.times_noted == 1
        await its.answer(second)
        assert its.ledger.looked_up == []
        assert its.running == 0


@in_virtual_time
async def test_the_next_change_is_noted_too() -> None:
    async with sending() as its:
        first, second = await its.user(), await its.change(ALICE)
        sender = await its.open(await its.waiting(first), position=9)
        at_lookup: list[int] = []

        async def meanwhile() -> None:
            at_lookup.append(its.times_noted)

        its.ledger.meanwhile = meanwhile
        sender.wake()
        await settled()
        await its.answer(first)
        assert its.sent == [first, second]
        assert its.times_noted == at_lookup[0] + 1


@in_virtual_time
async def test_a_change_that_is_read_while_the_next_one_is_looked_up_is_not_lost() -> None:
    async with sending() as its:
        first = await its.user()
        sender = await its.open(await its.waiting(first), position=first)
        second = 0

        async def meanwhile() -> None:
            nonlocal second
            second = await its.change(ALICE)
            sender.offer([await its.found(second)], second - 1, second)

        its.ledger.meanwhile = meanwhile
        sender.wake()
        await settled()
        await its.answer(first)
        assert its.ledger.looked_up == [first, first]
        assert its.sent == [first, second]
        await its.answer(second)
        assert its.running == 0


# Reading on


@in_virtual_time
async def test_a_sender_that_is_behind_reads_until_it_has_caught_up() -> None:
    async with sending() as its:
        seqs = [await its.user() for _ in range(3)]
        sender = await its.open(follows=False)
        sender.wake()
        await settled()
        assert its.sent == seqs
        assert its.ledger.read_from == [0]
        assert its.times_noted == 1
        assert sender.follows


@in_virtual_time
async def test_a_sender_reads_one_page_at_a_time() -> None:
    async with sending() as its:
        seq, arrived, read = await its.user(), asyncio.Event(), its.ledger.changes

        async def slow(since: int, limit: int, filter: Filter | None = None) -> ChangePage:
            page = await read(since, limit, filter)
            await arrived.wait()
            return page

        its.ledger.changes = slow  # type: ignore[method-assign]
        sender = await its.open(follows=False)
        for _ in range(3):
            sender.wake()
            await settled()
        assert its.ledger.read_from == [0]
        arrived.set()
        await settled()
        assert its.sent == [seq]


@in_virtual_time
async def test_a_sender_reads_the_next_page_while_it_has_not_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "PAGE", 2)
    async with sending() as its:
        seqs = [await its.user() for _ in range(5)]
        its.has_caught_up = False
        sender = await its.open(follows=False)

        def follow(each: Sender) -> bool:
            return each.outbox.read_to >= seqs[-1]

        sender._follow = follow
        sender.wake()
        await settled()
        assert its.sent == seqs
        assert its.ledger.read_from[:3] == [0, 2, 4]
        assert len(its.ledger.read_from) <= 4


@in_virtual_time
async def test_a_sender_reads_no_more_while_it_has_enough_to_send_or_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "LOW", 1)
    async with sending() as its:
        for _ in range(2):
            await its.user()
        its.has_caught_up = False
        sender = await its.open(follows=False)
        sender.wake()
        await settled()
        assert its.ledger.read_from == [0]
        ended = await its.open(follows=False)
        ended.outbox.has_ended = True
        ended.wake()
        await settled()
        assert its.ledger.read_from == [0]


@in_virtual_time
async def test_a_sender_without_room_for_offered_changes_is_behind_and_reads_them_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outboxes, "MAX_FRESH", 1)
    async with sending() as its:
        sender = await its.open()
        first, unwanted, second = [await its.user() for _ in range(3)]
        await offer(its, sender, first)
        await offer(its, sender, second, before=unwanted)
        assert not sender.follows
        assert sender.outbox.read_to == unwanted
        await its.answer(first)
        assert its.ledger.read_from == [unwanted]
        assert its.sent == [first, second]
        assert sender.follows


# Stopping


@in_virtual_time
async def test_a_closed_sender_stops_everything_at_once() -> None:
    async with sending() as its:
        first, second = await its.user(), await its.user()
        sender = await its.open(await its.waiting(second, holds=False), position=0)
        await offer(its, sender, first)
        assert sorted(its.sent) == [first, second]
        await sender.close()
        assert its.running == 0
        assert all(each.cancelled() for each in its.posted.values())
        assert its.outcomes == []


@in_virtual_time
async def test_an_idle_sender_is_closed_and_drained_at_once() -> None:
    async with sending() as its:
        sender = await its.open()
        await sender.close()
        await sender.drain()
        assert its.tasks == []


@in_virtual_time
async def test_a_draining_sender_waits_for_answers_and_sends_nothing_new() -> None:
    async with sending() as its:
        first, second = await its.user(), await its.user()
        sender = await its.open(await its.waiting(second), position=0)
        await offer(its, sender, first)
        draining = asyncio.create_task(sender.drain())
        third = await its.user()
        await offer(its, sender, third)
        await its.answer(first)
        assert not draining.done()
        await its.answer(second)
        assert draining.done()
        assert its.sent == [second, first]
        assert its.outcomes == ["delivered", "delivered"]
        assert its.running == 0


@in_virtual_time
async def test_a_draining_sender_does_not_wait_for_deliveries_that_are_due_later() -> None:
    async with sending() as its:
        sender = await its.open(await its.waiting(await its.user(), due_s=50), position=9)
        sender.wake()
        await settled()
        began = monotonic()
        await sender.drain()
        assert monotonic() == began
        assert its.sent == []


@pytest.mark.parametrize(
    ("earlier", "later", "seconds"), [(None, 9, 0), (START, 9, 9), (START.replace(second=10), 9, 0)]
)
def test_an_age_is_never_negative_and_0_without_a_time(earlier: datetime | None, later: int, seconds: float) -> None:
    assert seconds_between(earlier, START.replace(second=later)) == seconds

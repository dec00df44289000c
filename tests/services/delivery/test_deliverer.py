"""How changes are delivered to webhooks: in order, concurrently, with retries. On the fake, in virtual time."""

import asyncio
import inspect
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from itertools import pairwise
from typing import Any, Final

import pytest
from pydantic_core import to_json
from tests.services.virtual_time import clock, in_virtual_time, monotonic

from domain.changes import Change, ChangePage
from domain.delivery.deliveries import Answer, Delivery, DeliveryState
from domain.delivery.leases import Lease
from domain.delivery.webhooks import NewWebhook, Progress, State, Webhook
from domain.errors import Busy
from domain.groups import NewGroup
from domain.lists.filters import Filter, matches
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.delivery import deliverer
from services.delivery.deliverer import Deliverer
from services.delivery.deliveries import DeliveryService
from services.delivery.lease import GONE_AFTER_S
from services.delivery.ledger import Ledger
from services.delivery.outbox import AT_ONCE, MAX_HELD
from services.delivery.sender import SenderDependencies
from services.delivery.webhooks import WebhookService
from services.groups import GroupService
from services.users import UserService

URL: Final = "https://example.org/hooks"
CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
OK: Final = Answer(milliseconds=1, status=200)


class Units(MemoryUnitsOfWork):
    """Only this process writes, so a wait for changes ends with a commit and needs no polling."""

    def __init__(self) -> None:
        super().__init__(clock)
        self.news = asyncio.Event()
        self.is_busy = False

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        began = monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self._tables.changes) <= since:
                    self.news.clear()
                    await self.news.wait()
        return max(0.0, within_s - (monotonic() - began))

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[Any]:
        if self.is_busy and context.actor == "webhooks":
            raise Busy("Busy.")
        async with super().writing(context) as work:
            yield work
        self.news.set()


@dataclass(frozen=True)
class Message:
    at: float
    id: str
    url: str
    entity: tuple[str, int]
    seq: int


@dataclass
class Receiver:
    """Records the messages, waits for a given time, and sends a given answer."""

    answer: Callable[[Message], Answer] = lambda message: OK
    seconds: Callable[[Message], float] = lambda message: 0.01
    got: list[Message] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    under_way: dict[tuple[str, tuple[str, int]], int] = field(default_factory=lambda: defaultdict(int))
    most: int = 0

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        data = json.loads(body)["data"]
        message = Message(monotonic(), headers["webhook-id"], url, (data["kind"], data["entity_id"]), data["seq"])
        self.got.append(message)
        key = (url, message.entity)
        self.under_way[key] += 1
        assert self.under_way[key] == 1, "two messages about one entity at once"
        self.most = max(self.most, sum(self.under_way.values()))
        try:
            await asyncio.sleep(self.seconds(message))
            answer = self.answer(message)
            if answer.status is not None and answer.status < 300:
                self.taken.append(message)
            return answer
        finally:
            self.under_way[key] -= 1

    def seqs(self, entity: int | None = None) -> list[int]:
        return [each.seq for each in self.taken if entity in (None, each.entity[1])]


class Meter:
    def __init__(self) -> None:
        self.outcomes: dict[str, int] = defaultdict(int)
        self.lags: list[float] = []

    def attempted(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def lag(self, seconds: float) -> None:
        self.lags.append(seconds)


class World:
    def __init__(self) -> None:
        self.units = Units()
        self.receiver = Receiver()
        self.meter = Meter()
        self.users = UserService(self.units, CONTEXT)
        self.webhooks = WebhookService(self.units, bytes, False, CONTEXT)
        self.of_webhooks = DeliveryService(self.units, bytes, self.receiver, clock, CONTEXT)
        self.running: dict[str, tuple[Deliverer, asyncio.Task[None]]] = {}

    async def hook(self, filter: str | None = 'kind eq "user"', since: int | None = None, url: str = URL) -> Webhook:
        return (await self.webhooks.create(NewWebhook(url=url, filter=filter), since=since)).result[0]

    async def user(self, name: str = "Alice") -> int:
        return (await self.users.create(NewUser(name=name))).result.id

    async def change(self, id: int, times: int = 1) -> None:
        for _ in range(times):
            await self.users.patch(id, {"name": f"Alice {random.random()}"})

    def start(self, holder: str = "one", *, alone: bool = False) -> Deliverer:
        dependencies = SenderDependencies(
            ledger=Ledger(self.units, holder),
            post=self.receiver,
            encode=to_json,
            meter=self.meter,
            clock=clock,
            random=lambda: 0.5,
        )
        deliverer = Deliverer(dependencies, monotonic, alone=alone)
        self.running[holder] = (deliverer, asyncio.create_task(deliverer.run()))
        return deliverer

    async def kill(self, holder: str = "one") -> None:
        """As if its process had died: its memory is lost, and it stores nothing any more."""
        _, task = self.running.pop(holder)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def until(self, is_so: Callable[[], bool], within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while not is_so():  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.05)

    async def kept(self, id: int) -> Webhook:
        async with self.units.reading() as work:
            return await work.webhooks.get(id)

    async def deliveries(self, id: int, state: DeliveryState | None = None) -> Sequence[Delivery]:
        async with self.units.reading() as work:
            return await work.deliveries.list(id, state=state, limit=10_000)

    async def changes(self) -> Sequence[Change]:
        async with self.units.reading() as work:
            return await work.changes.list(limit=10_000)

    async def matching(self, webhook: Webhook) -> list[int]:
        async with self.units.reading() as work:
            found = await work.changes.list(filter=webhook.wanted, since=webhook.position, limit=10_000)
            return [each.seq for each in found]


def quick_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for requested deliveries only once an hour, so that a day passes in milliseconds."""
    for name in ("LOOK_EVERY_S", "IDLE_EVERY_S", "TRIM_EVERY_S", "WAIT_S"):
        monkeypatch.setattr(deliverer, name, 3600)


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_days(monkeypatch)


def in_a_world(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a world of its own, in virtual time."""

    async def within(**given: Any) -> None:
        world = World()
        try:
            await test(world=world, **given)
        finally:
            for holder in list(world.running):
                await world.kill(holder)

    run = wraps(test)(in_virtual_time(within))
    signature = inspect.signature(test)
    taken = [each for name, each in signature.parameters.items() if name != "world"]
    run.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]
    return run


@in_a_world
async def test_each_change_is_sent_once_and_the_position_follows(world: World) -> None:
    hook = await world.hook()
    world.start()
    alice = await world.user()
    await world.change(alice, 3)
    await world.until(lambda: len(world.receiver.taken) == 4)
    await asyncio.sleep(61)

    assert world.receiver.seqs() == [2, 3, 4, 5]
    assert len({each.id for each in world.receiver.got}) == 4
    kept = await world.kept(hook.id)
    assert (kept.position, kept.failing_since, kept.version) == (5, None, 1)
    assert [(each.change, each.state, each.attempts, each.status) for each in await world.deliveries(hook.id)] == [
        (seq, DeliveryState.DELIVERED, 1, 200) for seq in (5, 4, 3, 2)
    ]


@in_a_world
async def test_a_new_webhook_is_noticed_and_one_that_begins_in_the_past_catches_up(world: World) -> None:
    for _ in range(700):
        await world.user()
    world.start()
    await asyncio.sleep(10)
    await world.hook(since=0)
    await world.until(lambda: len(world.receiver.taken) == 700)
    await world.user()
    await world.until(lambda: len(world.receiver.taken) == 701)

    assert sorted(world.receiver.seqs()) == [*range(1, 701), 702]
    assert world.receiver.most == AT_ONCE


@in_a_world
async def test_messages_of_one_entity_are_sent_one_at_a_time_and_delay_no_others(
    world: World,
) -> None:
    slow = await world.user("Slow")
    await world.hook()
    world.receiver.seconds = lambda message: 10 if message.entity[1] == slow else 0.01
    world.start()
    await world.change(slow, 3)
    others = [await world.user() for _ in range(50)]
    for each in others:
        await world.change(each, 2)
    await world.until(lambda: len(world.receiver.taken) == 150, within_s=2)
    await world.until(lambda: len(world.receiver.seqs(slow)) == 3, within_s=40)

    for each in [slow, *others]:
        assert world.receiver.seqs(each) == sorted(world.receiver.seqs(each))


@in_a_world
async def test_only_changes_that_match_the_filter_are_sent_and_an_actor_can_be_excluded(world: World) -> None:
    await world.hook('kind eq "user" and action ne "updated" and actor ne "key:3"')
    world.start()
    await world.users.create(NewUser(name="A"))
    await world.change(1)
    await UserService(world.units, RequestContext(actor="key:3", request_id="r")).create(NewUser(name="B"))
    await world.users.delete(1)
    await asyncio.sleep(5)
    assert [each.seq for each in world.receiver.got] == [2, 5]


@pytest.mark.usefixtures("days")
@in_a_world
async def test_a_message_is_retried_by_the_schedule_with_the_same_id_and_then_once_a_day(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda message: Answer(milliseconds=1, status=500)
    world.start(alone=True)
    await world.user()
    await asyncio.sleep(timedelta(days=7).total_seconds())

    times = [each.at for each in world.receiver.got]
    waits = [round(later - earlier) for earlier, later in pairwise(times)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, 86400, 86400, 86400]
    assert len({each.id for each in world.receiver.got}) == 1
    kept = await world.kept(hook.id)
    assert (kept.shown_state, kept.position) == (State.FAILING, 2)
    world.receiver.answer = lambda message: OK
    await asyncio.sleep(86401)
    assert world.receiver.seqs() == [2]
    assert (await world.kept(hook.id)).shown_state is State.ACTIVE


@in_a_world
async def test_changes_of_an_entity_wait_behind_a_failed_one_and_others_are_sent(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    await world.hook()
    is_good = False
    world.receiver.answer = lambda m: OK if is_good or m.entity[1] != alice else Answer(milliseconds=1, status=503)
    world.start()
    await world.change(alice, 3)
    await world.change(bob, 3)
    await asyncio.sleep(3)
    assert world.receiver.seqs() == await_seqs(bob, world)
    is_good = True
    await world.change(alice)
    await asyncio.sleep(10)
    assert world.receiver.seqs(alice) == [4, 5, 6, 10]
    assert len([each for each in world.receiver.got if each.entity[1] == alice]) == 5


def await_seqs(entity: int, world: World) -> list[int]:
    return [each.seq for each in world.receiver.got if each.entity[1] == entity]


@pytest.mark.usefixtures("days")
@in_a_world
async def test_all_messages_are_sent_at_once_when_the_receiver_is_back(world: World) -> None:
    await world.hook()
    world.receiver.answer = lambda message: Answer(milliseconds=1, error="refused")
    world.start(alone=True)
    for _ in range(MAX_HELD + 200):
        await world.user()
    await asyncio.sleep(timedelta(days=5).total_seconds())
    assert len({each.seq for each in world.receiver.got}) <= MAX_HELD + AT_ONCE  # the others wait in the feed
    world.receiver.answer = lambda message: OK
    await asyncio.sleep(86401)
    assert sorted(world.receiver.seqs()) == list(range(2, 302))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["120", "Thu, 01 Jan 2026 12:02:00 GMT"])
@in_a_world
async def test_a_retry_waits_for_retry_after(world: World, status: int, retry_after: str) -> None:
    await world.hook()
    world.receiver.answer = lambda m: (
        OK if len(world.receiver.got) > 1 else Answer(milliseconds=1, status=status, retry_after=retry_after)
    )
    world.start()
    await world.user()
    await asyncio.sleep(1)
    await world.user()  # not even another one is sent meanwhile
    await asyncio.sleep(110)
    assert len(world.receiver.got) == 1
    await asyncio.sleep(12)
    assert sorted(world.receiver.seqs()) == [2, 3]


@in_a_world
async def test_retry_after_is_kept_over_a_restart_but_not_over_a_change_of_the_webhook(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda m: (
        OK if len(world.receiver.got) > 1 else Answer(milliseconds=1, status=503, retry_after="1200")
    )
    world.start()
    await world.user()
    await asyncio.sleep(1)
    await world.kill()
    world.start("two")
    await world.user()
    await asyncio.sleep(600)
    assert len(world.receiver.got) == 1
    assert (await world.kept(hook.id)).silent_until is not None

    await world.webhooks.patch(hook.id, {"url": f"{URL}/new"})
    await world.until(lambda: sorted(world.receiver.seqs()) == [2, 3])
    await asyncio.sleep(1)
    assert (await world.kept(hook.id)).silent_until is None


@in_a_world
async def test_a_410_disables_the_webhook_until_it_is_resumed(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda message: Answer(milliseconds=1, status=410)
    world.start()
    await world.user()
    await asyncio.sleep(5)
    assert (await world.kept(hook.id)).state is State.DISABLED
    await world.user()
    await asyncio.sleep(1000)
    assert len(world.receiver.got) == 1
    async with world.units.reading() as work:
        disabling = (await work.changes.list(since=2, limit=1))[0]
    assert (disabling.actor, disabling.after) == (f"webhook:{hook.id}", {"state": "disabled"})

    world.receiver.answer = lambda message: OK
    await world.webhooks.resume(hook.id)
    await world.until(lambda: len(world.receiver.taken) == 2, within_s=5)
    assert sorted(world.receiver.seqs()) == [2, 4]


@pytest.mark.usefixtures("days")
@in_a_world
async def test_a_message_refused_for_three_days_is_set_aside_and_later_ones_are_sent(world: World) -> None:
    hook = await world.hook()
    world.start(alone=True)
    world.receiver.answer = lambda m: Answer(milliseconds=1, status=422, text="no") if m.seq == 2 else OK
    alice = await world.user()
    await world.change(alice, 2)
    await asyncio.sleep(timedelta(days=2.9).total_seconds())
    assert world.receiver.seqs() == []
    await asyncio.sleep(timedelta(days=1).total_seconds())
    assert world.receiver.seqs() == [3, 4]
    (aside,) = await world.deliveries(hook.id, DeliveryState.SET_ASIDE)
    assert (aside.change, aside.status, aside.answer, aside.next_at) == (2, 422, "no", None)


@pytest.mark.usefixtures("days")
@in_a_world
async def test_a_message_that_was_set_aside_can_be_sent_again(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda m: Answer(milliseconds=1, status=400) if m.seq == 2 else OK
    world.start(alone=True)
    await world.user()
    await asyncio.sleep(timedelta(days=4).total_seconds())
    world.receiver.answer = lambda message: OK
    await world.of_webhooks.send_again(hook.id, 2)
    await asyncio.sleep(3700)
    assert world.receiver.seqs() == [2]
    assert [(each.change, each.state) for each in await world.deliveries(hook.id)] == [(2, DeliveryState.DELIVERED)]


@in_a_world
async def test_a_delivered_message_can_be_sent_again_once(world: World) -> None:
    hook = await world.hook()
    world.start()
    await world.user()
    await asyncio.sleep(1)
    await world.of_webhooks.send_again(hook.id, 2)
    await asyncio.sleep(30)
    assert world.receiver.seqs() == [2, 2]


@in_a_world
async def test_a_paused_webhook_sends_nothing_and_loses_nothing(world: World) -> None:
    hook = await world.hook()
    world.start()
    await world.webhooks.pause(hook.id)
    await asyncio.sleep(1)
    alice = await world.user()
    await asyncio.sleep(100)
    assert world.receiver.got == []
    await world.webhooks.resume(hook.id)
    await world.change(alice)
    await asyncio.sleep(1)
    assert world.receiver.seqs() == [3, 5]


@in_a_world
async def test_a_new_url_applies_to_messages_that_are_not_delivered_yet(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda m: OK if m.url.endswith("2") else Answer(milliseconds=1, status=500)
    world.start()
    await world.user()
    await asyncio.sleep(400)
    await world.webhooks.patch(hook.id, {"url": URL + "/2"})
    await asyncio.sleep(1)
    assert world.receiver.seqs() == [2]


@in_a_world
async def test_a_deleted_webhook_gets_no_messages(world: World) -> None:
    hook = await world.hook()
    world.receiver.answer = lambda message: Answer(milliseconds=1, status=500)
    world.start()
    await world.user()
    await asyncio.sleep(1)
    await world.webhooks.delete(hook.id)
    await asyncio.sleep(1000)
    assert len(world.receiver.got) == 1
    assert await world.deliveries(hook.id) == []


@in_a_world
async def test_one_process_delivers_and_another_takes_over_within_15_seconds(world: World) -> None:
    await world.hook()
    world.start("one")
    world.start("two")
    for _ in range(20):
        await world.user()
        await asyncio.sleep(1)
    assert sorted(world.receiver.seqs()) == list(range(2, 22))
    assert (await holder_of(world)) in {"one", "two"}

    await world.kill(await holder_of(world))
    died, seq = monotonic(), 22
    await world.user()
    await world.until(lambda: seq in world.receiver.seqs(), within_s=15)
    assert monotonic() - died > 5
    assert sorted(world.receiver.seqs()) == list(range(2, 23))


async def lease_of(world: World) -> Lease:
    async with world.units.reading() as work:
        lease = await work.leases.find("webhooks")
    assert lease is not None
    return lease


async def holder_of(world: World) -> str:
    return (await lease_of(world)).holder


@in_a_world
async def test_a_process_that_lost_its_lease_stores_nothing_and_stops(world: World) -> None:
    hook = await world.hook()
    world.start("one")
    await world.user()
    await asyncio.sleep(1)
    async with world.units.writing(CONTEXT) as work:
        await work.leases.take("webhooks", "two", await work.leases.find("webhooks"))
        await work.commit(None)
    await world.user()
    await asyncio.sleep(5)
    assert (await world.kept(hook.id)).position == 2
    assert await holder_of(world) == "two"
    await asyncio.sleep(15)  # whose beats have stopped
    assert await holder_of(world) == "one"
    await asyncio.sleep(1)
    assert (await world.kept(hook.id)).position == 3
    await world.user()
    await asyncio.sleep(1)
    assert (await world.kept(hook.id)).position == 4


@in_a_world
async def test_a_clean_stop_waits_for_answers_and_the_next_process_delivers_at_once(world: World) -> None:
    hook = await world.hook()
    world.receiver.seconds = lambda message: 2
    first = world.start("one")
    await world.user()
    await asyncio.sleep(1)
    await first.finish()
    await world.kill("one")
    assert (await world.kept(hook.id)).position == 2
    world.receiver.seconds = lambda message: 0
    world.start("two")
    await world.user()
    await world.until(lambda: len(world.receiver.taken) == 2, within_s=3)
    assert world.receiver.seqs() == [2, 3]


@in_a_world
async def test_delivery_continues_after_the_database_was_busy(world: World) -> None:
    hook = await world.hook()
    world.start()
    await asyncio.sleep(1)
    for seconds in (1, 30):
        world.units.is_busy = True
        await world.user()
        await asyncio.sleep(seconds)
        world.units.is_busy = False
        await world.user()
        await asyncio.sleep(15)
    assert set(world.receiver.seqs()) == {2, 3, 4, 5}
    assert world.receiver.seqs()[:2] == [2, 3]
    assert (await world.kept(hook.id)).position == 5


@in_a_world
async def test_a_process_that_can_store_nothing_stops_before_another_one_takes_over(world: World) -> None:
    await world.hook()
    world.start()
    await asyncio.sleep(10)
    world.units.is_busy = True
    await world.user()
    await asyncio.sleep(GONE_AFTER_S)
    await world.user()
    await asyncio.sleep(GONE_AFTER_S)
    assert [message.seq for message in world.receiver.got] == [2]


@in_a_world
async def test_the_lag_is_the_age_of_the_oldest_change_that_was_not_delivered(world: World) -> None:
    await world.hook()
    world.receiver.answer = lambda message: Answer(milliseconds=1, status=500)
    world.start()
    await world.user()
    await asyncio.sleep(100)
    assert 95 < world.meter.lags[-1] <= 100
    world.receiver.answer = lambda message: OK
    await asyncio.sleep(300)
    assert world.meter.lags[-1] == 0
    assert world.meter.outcomes == {"failed": 2, "delivered": 1}


@in_a_world
async def test_the_position_of_idle_webhooks_is_not_written_for_each_change(world: World) -> None:
    hooks = [await world.hook(f'kind eq "user" and entity_id eq {1000 + number % 7}') for number in range(50)]
    world.start(alone=True)
    await asyncio.sleep(1)
    before = (await lease_of(world)).beats
    for _ in range(40):
        await world.user()
        await asyncio.sleep(1)
    assert (await lease_of(world)).beats - before <= 1
    await asyncio.sleep(61)
    assert {(await world.kept(each.id)).position for each in hooks} == {90}
    assert world.receiver.got == []


@in_a_world
async def test_a_thousand_idle_webhooks_have_no_task_and_each_filter_is_evaluated_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.units.writing(CONTEXT) as work:
        for number in range(1000):
            filter = f'kind eq "user" and entity_id eq {10_000 + number % 5}'
            await work.webhooks.add(NewWebhook(url=URL, filter=filter, position=1000))
        await work.commit(None)
    world.start(alone=True)
    await asyncio.sleep(5)
    tasks, evaluated = len(asyncio.all_tasks()), []

    def counted(filter: Filter | None, change: Change) -> bool:
        evaluated.append(change.seq)
        return matches(filter, change)

    monkeypatch.setattr(deliverer, "matches", counted)
    for _ in range(20):
        await world.user()
        await asyncio.sleep(0.5)

    assert tasks < 10
    assert len(asyncio.all_tasks()) == tasks
    assert len(evaluated) == 20 * 5


@pytest.mark.parametrize("seed", range(8))
@in_a_world
async def test_every_change_arrives_and_in_order_for_each_entity_despite_any_failures(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers fail, refuse, are slow or send Retry-After, and processes die. No change is lost."""
    dice = random.Random(seed)
    filters = (None, 'kind eq "user"', 'action eq "updated"')
    hooks = [await world.hook(filter, url=f"https://example.org/{number}") for number, filter in enumerate(filters)]

    def answer(message: Message) -> Answer:
        if monotonic() > 3000 or dice.random() < 0.7:
            return OK
        status = dice.choice([500, 404, 429, 503, 301, None])
        return Answer(milliseconds=1, status=status, retry_after="7" if status == 429 else None)

    world.receiver.answer = answer
    world.receiver.seconds = lambda message: dice.random() ** 4 * 14
    world.start("a")
    world.start("b")
    people = [await world.user() for _ in range(10)]
    for step in range(100):
        await asyncio.sleep(dice.random() * 4)
        await (world.change(dice.choice(people)) if dice.random() < 0.8 else world.user())
        if step % 10 == 9:
            holder = dice.choice(list(world.running))
            await world.kill(holder)
            world.start(f"{holder}{step}")
    for holder in list(world.running):
        await world.kill(holder)
    quick_days(monkeypatch)
    world.start("last", alone=True)
    await asyncio.sleep(timedelta(days=1).total_seconds())

    for hook in hooks:
        taken = [each for each in world.receiver.taken if each.url == hook.url]
        assert {each.seq for each in taken} == set(await world.matching(hook)), hook.filter
        firsts: dict[tuple[str, int], list[int]] = defaultdict(list)
        for each in taken:
            if each.seq not in firsts[each.entity]:
                firsts[each.entity].append(each.seq)
        assert all(seqs == sorted(seqs) for seqs in firsts.values())


@in_a_world
async def test_changes_that_arrive_one_by_one_are_read_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.hook()
    deliverer_ = world.start()
    await world.user()
    await world.until(lambda: len(world.receiver.taken) == 1)
    reads = []
    read = deliverer_._ledger.changes

    async def counted(since: int, limit: int, filter: Filter | None = None) -> ChangePage:
        reads.append(since)
        return await read(since, limit, filter)

    monkeypatch.setattr(deliverer_._ledger, "changes", counted)
    for _ in range(200):
        await world.user()
        await asyncio.sleep(0.001)
    await world.until(lambda: len(world.receiver.taken) == 201)

    assert len(reads) < 100


@in_a_world
async def test_a_process_without_webhooks_does_not_hold_the_lease(world: World) -> None:
    world.start()
    await asyncio.sleep(10)
    async with world.units.reading() as work:
        assert await work.leases.find("webhooks") is None
    await world.hook()
    await world.user()
    await world.until(lambda: world.receiver.seqs() == [2], within_s=3)


@in_a_world
async def test_a_change_after_a_quiet_time_is_sent_without_delay(world: World) -> None:
    await world.hook()
    world.start()
    await asyncio.sleep(10)
    began = monotonic()
    await world.user()
    await world.until(lambda: len(world.receiver.got) == 1)
    assert world.receiver.got[0].at == began


@in_a_world
async def test_wanted_changes_are_read_more_often_than_unwanted_ones(world: World) -> None:
    hook = await world.hook('kind eq "user"')
    deliverer_ = world.start()
    reads = 0
    read = deliverer_._ledger.changes

    async def counted(since: int, limit: int, filter: Filter | None = None) -> ChangePage:
        nonlocal reads
        reads += 1
        return await read(since, limit, filter)

    deliverer_._ledger.changes = counted  # type: ignore[method-assign]
    await asyncio.sleep(10)

    async def reads_of_a_second(change: Callable[[], Awaitable[object]]) -> int:
        before = reads
        for _ in range(100):
            await change()
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        return reads - before

    groups = GroupService(world.units, CONTEXT)
    wanted = await reads_of_a_second(world.user)
    unwanted = await reads_of_a_second(lambda: groups.create(NewGroup(name=f"Group {monotonic()}")))
    assert unwanted < 15
    assert 30 < wanted < 50
    await world.webhooks.delete(hook.id)
    assert await reads_of_a_second(world.user) < 15


@in_a_world
async def test_the_progress_of_a_busy_webhook_is_stored_a_few_times_a_second(world: World) -> None:
    await world.hook()
    world.start()
    await asyncio.sleep(10)
    before = (await lease_of(world)).beats
    for _ in range(100):
        await world.user()
        await asyncio.sleep(0.01)
    assert 5 < (await lease_of(world)).beats - before < 25


@in_a_world
async def test_an_idle_process_renews_its_lease_every_few_seconds(world: World) -> None:
    await world.hook()
    world.start()
    await asyncio.sleep(10)
    before = (await lease_of(world)).beats
    await asyncio.sleep(120)
    assert 20 < (await lease_of(world)).beats - before < 40


@in_a_world
async def test_a_message_is_not_sent_again_because_its_webhook_is_changed(world: World) -> None:
    hook = await world.hook()
    world.start()
    await asyncio.sleep(10)
    await world.user()
    await world.until(lambda: len(world.receiver.taken) == 1)
    await world.webhooks.patch(hook.id, {"url": f"{URL}/new"})
    await asyncio.sleep(5)
    assert len(world.receiver.got) == 1


@in_a_world
async def test_deliveries_that_could_not_be_stored_are_stored_later(world: World) -> None:
    hook = await world.hook()
    world.start()
    await asyncio.sleep(10)
    world.units.is_busy = True
    await world.user()
    await asyncio.sleep(1)
    world.units.is_busy = False
    await asyncio.sleep(5)
    assert len(world.receiver.got) == 1
    assert [each.change for each in await world.deliveries(hook.id)] == [2]


@in_a_world
async def test_old_deliveries_are_removed_from_all_webhooks_a_few_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "KEPT_DELIVERIES", 2)
    monkeypatch.setattr(deliverer, "TRIMMED_AT_ONCE", 2)
    hooks = [await world.hook(url=f"{URL}/{number}") for number in range(3)]
    old = Delivery.of((await world.changes())[0], hooks[0].id)
    async with world.units.writing(CONTEXT) as work:
        await work.deliveries.put([replace(old, at=clock() - timedelta(days=30, seconds=-60))])
        await work.commit(None)
    world.start()
    await asyncio.sleep(10)
    assert [each.change for each in await world.deliveries(hooks[0].id)] == [1]
    for _ in range(3):
        await world.user()
    await asyncio.sleep(300)
    assert [[each.change for each in await world.deliveries(hook.id)] for hook in hooks] == [[6, 5]] * 3


@in_a_world
async def test_the_lag_is_that_of_the_webhooks_that_this_process_delivers_now(world: World) -> None:
    hook = await world.hook()
    other = await world.hook(url=f"{URL}/2")
    world.receiver.answer = lambda message: Answer(milliseconds=1, status=500)
    world.start()
    await world.user()
    await asyncio.sleep(100)
    assert world.meter.lags[-1] > 90
    async with world.units.writing(CONTEXT) as work:
        await work.leases.take("webhooks", "two", await work.leases.find("webhooks"))
        await work.commit(None)
    await asyncio.sleep(5)
    assert world.meter.lags[-1] == 0
    await world.webhooks.pause(hook.id)
    await world.webhooks.delete(other.id)
    await world.hook(url=f"{URL}/3")
    await asyncio.sleep(30)
    assert await holder_of(world) == "one"
    assert world.meter.lags[-1] == 0


@in_a_world
async def test_a_clean_stop_does_not_wait_long_for_answers(world: World) -> None:
    await world.hook()
    world.receiver.seconds = lambda message: 100
    first = world.start()
    await world.user()
    await asyncio.sleep(1)
    began = monotonic()
    await first.finish()
    assert monotonic() - began == deliverer.LAST_ANSWERS_S


@in_a_world
async def test_a_process_that_cannot_store_just_after_it_took_the_lease_does_not_begin_again(world: World) -> None:
    one = world.start()
    keep, failures = one._ledger.keep, [Busy("Busy.")]

    async def busy_at_first(progress: Collection[Progress], deliveries: Sequence[Delivery]) -> None:
        if failures:
            raise failures.pop()
        await keep(progress, deliveries)

    one._ledger.keep = busy_at_first  # type: ignore[method-assign]
    await asyncio.sleep(100)
    await world.user()
    hook = await world.hook(since=0)
    await asyncio.sleep(30)
    assert failures == []
    assert len(world.receiver.got) == 1
    assert (await world.kept(hook.id)).position >= 1

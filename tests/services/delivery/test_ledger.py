"""The reads and writes of the deliverer of webhooks: each method of the ledger by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest
from tests.services.virtual_time import START, in_virtual_time, monotonic

from domain.changes import FIELDS, ChangePage
from domain.delivery.deliveries import Delivery, DeliveryState
from domain.delivery.leases import Lease
from domain.delivery.webhooks import NewWebhook, Progress, Secret, State, Webhook
from domain.errors import Busy
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.delivery import ledger as ledgers
from services.delivery.ledger import AT_LEAST_S, LeaseLost, Ledger, Subscription
from services.users import UserService

MINE, THEIRS = "this process", "another process"
CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
OF_USERS: Final = parse_filter('kind eq "user"', FIELDS)


class Units(MemoryUnitsOfWork):
    """A wait for a change ends in a planned way."""

    def __init__(self) -> None:
        super().__init__(lambda: START)
        self.waits: list[tuple[int, float, str]] = []
        self.left_s = 0.0
        self.is_busy = False

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        self.waits.append((since, within_s, context.actor))
        if self.is_busy:
            raise Busy("Too many wait.")
        return self.left_s


@pytest.fixture
def units() -> Units:
    return Units()


@pytest.fixture
def ledger(units: Units) -> Ledger:
    return Ledger(units, MINE)


async def hook(units: Units, state: State = State.ACTIVE) -> Webhook:
    """A webhook with a secret. It makes one change."""
    async with units.writing(CONTEXT) as work:
        made = await work.webhooks.add(NewWebhook(url="https://example.org/", state=state))
        await work.webhooks.keep_secrets(made.id, [Secret(b"s")])
        return (await work.commit(made)).result


async def kept(units: Units, id: int) -> Webhook:
    async with units.reading() as work:
        return await work.webhooks.get(id)


def delivery(of: int, seq: int, state: DeliveryState = DeliveryState.DELIVERED, *, days_ago: int = 0) -> Delivery:
    return Delivery(
        webhook_id=of,
        change=seq,
        kind="user",
        entity_id=1,
        action="created",
        changed_at=START,
        state=state,
        at=START - timedelta(days=days_ago),
        next_at=START if state in {DeliveryState.RETRYING, DeliveryState.ASKED} else None,
    )


async def put(units: Units, *deliveries: Delivery) -> None:
    async with units.writing(CONTEXT) as work:
        await work.deliveries.put(deliveries)
        await work.commit(None)


async def deliveries(units: Units, of: int) -> list[int]:
    async with units.reading() as work:
        return [each.change for each in await work.deliveries.list(of, limit=99)]


async def create_users(units: Units, count: int) -> None:
    for _ in range(count):
        await UserService(units, CONTEXT).create(NewUser(name="Alice"))


# Webhooks


@pytest.mark.parametrize("state", [State.ACTIVE, State.PAUSED])
async def test_the_ledger_knows_whether_there_is_any_webhook(ledger: Ledger, units: Units, state: State) -> None:
    assert await ledger.any() is False
    await hook(units, state)
    assert await ledger.any() is True


async def test_a_subscription_has_the_secrets_and_the_open_deliveries_of_its_webhook(
    ledger: Ledger, units: Units
) -> None:
    one, other = await hook(units), await hook(units)
    await put(
        units,
        delivery(one.id, 1),
        retrying := delivery(one.id, 2, DeliveryState.RETRYING),
        delivery(one.id, 3, DeliveryState.SET_ASIDE),
        delivery(other.id, 4, DeliveryState.RETRYING),
    )
    expected = Subscription(one, [Secret(b"s")], [retrying])
    assert await ledger.subscription(one.id) == expected
    assert (await ledger.subscriptions(0))[0][0] == expected


@pytest.mark.parametrize("state", [State.PAUSED, State.DISABLED])
async def test_only_active_webhooks_have_subscriptions(ledger: Ledger, units: Units, state: State) -> None:
    other = await hook(units, state)
    active = await hook(units)
    assert await ledger.subscription(other.id) is None
    assert await ledger.subscription(99) is None
    found, after = await ledger.subscriptions(0)
    assert [each.webhook for each in found] == [active]
    assert after is None


async def test_subscriptions_are_read_in_pages_of_which_some_may_be_empty(
    ledger: Ledger, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "WEBHOOKS_AT_ONCE", 2)
    for state in (State.ACTIVE, State.PAUSED, State.PAUSED, State.PAUSED, State.ACTIVE):
        await hook(units, state)

    async def page(after: int) -> tuple[Sequence[int], int | None]:
        found, then = await ledger.subscriptions(after)
        return [each.webhook.id for each in found], then

    assert [await page(0), await page(2), await page(4)] == [([1], 2), ([], 4), ([5], None)]


async def test_the_change_that_disables_a_webhook_has_the_webhook_as_its_actor(ledger: Ledger, units: Units) -> None:
    made = await hook(units)
    await ledger.disable(made.id)
    assert (await kept(units, made.id)).state is State.DISABLED
    (disabling,) = (await ledger.changes(1, 9)).changes
    assert (disabling.actor, disabling.after) == (f"webhook:{made.id}", {"state": "disabled"})


async def test_a_webhook_that_is_gone_is_not_disabled(ledger: Ledger) -> None:
    await ledger.disable(99)
    assert await ledger.last() == 0


# The feed


async def test_a_reader_continues_after_a_change(ledger: Ledger, units: Units) -> None:
    await create_users(units, 3)
    assert await ledger.last() == 3
    page = await ledger.changes(1, 9)
    assert ([each.seq for each in page.changes], page.end) == ([2, 3], 3)
    page = await ledger.changes(0, 2)
    assert ([each.seq for each in page.changes], page.end) == ([1, 2], 2)
    assert await ledger.changes(3, 9) == ChangePage([], 3)


async def test_a_reader_with_a_filter_continues_at_the_end_of_the_record(ledger: Ledger, units: Units) -> None:
    await create_users(units, 1)
    await hook(units)
    page = await ledger.changes(0, 9, OF_USERS)
    assert ([each.seq for each in page.changes], page.end) == ([1], 2)
    page = await ledger.changes(0, 1, OF_USERS)
    assert ([each.seq for each in page.changes], page.end) == ([1], 1)
    assert (await ledger.changes(1, 9, OF_USERS)).end == 2
    assert (await ledger.changes(7, 9, OF_USERS)).end == 7


async def test_a_change_is_found_while_it_is_kept(ledger: Ledger, units: Units) -> None:
    await create_users(units, 3)
    async with units.writing(CONTEXT) as work:
        await work.changes.trim(before=START + timedelta(days=1), up_to=1, limit=9)
        await work.commit(None)
    found = await ledger.change(2)
    assert found is not None
    assert found.seq == 2
    assert await ledger.change(1) is None
    assert await ledger.change(4) is None


async def test_the_next_wanted_change_of_an_entity_is_found(ledger: Ledger, units: Units) -> None:
    users = UserService(units, CONTEXT)
    await create_users(units, 2)
    await hook(units)  # with the same id as the first user
    for id, name in ((2, "Bob"), (1, "Alicia"), (1, "Ali")):
        await users.patch(id, {"name": name})
    await users.delete(1)

    async def next_of(kind: str, id: int, since: int, filter: str | None = None) -> int | None:
        wanted = None if filter is None else parse_filter(filter, FIELDS)
        found = await ledger.next_of((kind, id), since, wanted)
        return None if found is None else found.seq

    assert await next_of("user", 1, 0) == 1
    assert await next_of("user", 1, 1) == 5
    assert await next_of("user", 2, 1) == 2
    assert await next_of("webhook", 1, 0) == 3
    assert await next_of("user", 1, 1, 'action eq "deleted"') == 7
    assert await next_of("user", 1, 7) is None


@in_virtual_time
async def test_a_follower_gets_changes_without_waiting(ledger: Ledger, units: Units) -> None:
    await create_users(units, 2)
    page = await ledger.follow(0, 1, 30)
    assert ([each.seq for each in page.changes], page.end) == ([1], 1)
    assert (units.waits, monotonic()) == ([], 0)


@in_virtual_time
async def test_a_follower_waits_for_a_change_and_then_reads_at_once(ledger: Ledger, units: Units) -> None:
    await create_users(units, 1)
    units.left_s = 12.5
    assert await ledger.follow(1, 9, 30) == ChangePage([], 1)
    assert units.waits == [(1, 30, "webhooks")]
    assert monotonic() == 0


@pytest.mark.parametrize("is_busy", [False, True], ids=["its wait is ended at once", "too many wait"])
@in_virtual_time
async def test_a_follower_does_not_read_all_the_time(is_busy: bool) -> None:
    units = Units()
    units.is_busy = is_busy
    assert await Ledger(units, MINE).follow(0, 9, 30) == ChangePage([], 0)
    assert monotonic() == AT_LEAST_S


# Deliveries


async def test_requested_deliveries_are_found(ledger: Ledger, units: Units) -> None:
    one, other = await hook(units), await hook(units)
    asked = [delivery(one.id, 2, DeliveryState.ASKED), delivery(other.id, 1, DeliveryState.ASKED)]
    await put(units, delivery(one.id, 1, DeliveryState.RETRYING), *asked)
    assert await ledger.asked() == asked


async def test_the_newest_deliveries_of_some_webhooks_are_kept(ledger: Ledger, units: Units) -> None:
    ids = [(await hook(units)).id for _ in range(3)]
    await put(units, *[delivery(of, seq) for of in ids for seq in (1, 2, 3)])
    await ledger.trim(ids[:2], keep=2)
    assert [await deliveries(units, of) for of in ids] == [[3, 2], [3, 2], [3, 2, 1]]


async def test_old_deliveries_are_removed(ledger: Ledger, units: Units) -> None:
    of = (await hook(units)).id
    await put(units, delivery(of, 1, days_ago=31), delivery(of, 2, days_ago=29))
    await ledger.forget(START - timedelta(days=30))
    assert await deliveries(units, of) == [2]


# The lease


async def test_the_lease_is_taken_by_a_process_that_has_seen_it(ledger: Ledger, units: Units) -> None:
    others = Ledger(units, THEIRS)
    assert await ledger.lease() is None
    assert await ledger.take_lease(None) is True
    assert await ledger.lease() == await others.lease() == Lease(MINE, 1)
    assert await others.take_lease(None) is False
    assert await others.take_lease(Lease(MINE, 1)) is True
    assert await ledger.lease() == Lease(THEIRS, 2)


async def test_only_the_holder_releases_the_lease(ledger: Ledger, units: Units) -> None:
    await ledger.take_lease(None)
    await Ledger(units, THEIRS).give_lease_back()
    assert await ledger.lease() == Lease(MINE, 1)
    await ledger.give_lease_back()
    assert await ledger.lease() is None


async def test_progress_and_deliveries_are_stored_and_the_lease_beats(ledger: Ledger, units: Units) -> None:
    of = (await hook(units)).id
    await ledger.take_lease(None)
    await ledger.keep([Progress(of, 5, START)], [delivery(of, 5)])
    stored = await kept(units, of)
    assert (stored.position, stored.failing_since) == (5, START)
    assert await deliveries(units, of) == [5]
    await ledger.keep([], [])
    assert await ledger.lease() == Lease(MINE, 3)


async def test_a_process_without_the_lease_stores_nothing(ledger: Ledger, units: Units) -> None:
    of = (await hook(units)).id
    await Ledger(units, THEIRS).take_lease(None)
    with pytest.raises(LeaseLost, match="Another process"):
        await ledger.keep([Progress(of, 5)], [delivery(of, 5)])
    assert (await kept(units, of)).position == 0
    assert await deliveries(units, of) == []
    assert await ledger.lease() == Lease(THEIRS, 1)

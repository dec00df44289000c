"""What every store of deliveries and of leases promises."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from domain.delivery.deliveries import BY_CHANGE, Delivery, DeliveryState
from domain.delivery.leases import Lease
from domain.delivery.webhooks import NewWebhook
from domain.errors import Malformed, NotFound, Stale
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from services.delivery.webhooks import WebhookService
from services.users import UserService

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
WHOLE: Final = Delivery(
    webhook_id=1,
    change=7,
    kind="user",
    entity_id=2**53 - 1,
    action="updated",
    changed_at=NOON + timedelta(microseconds=1),
    state=DeliveryState.RETRYING,
    attempts=3,
    at=NOON,
    status=503,
    error="no answer",
    milliseconds=15_000,
    answer='{"é": "\\"}',
    next_at=NOON + timedelta(hours=1),
    refused_since=NOON - timedelta(days=1),
    holds=True,
)
BARE: Final = Delivery(
    webhook_id=1, change=2**53 - 1, kind="user", entity_id=1, action="created", changed_at=NOON, at=NOON
)


@pytest.fixture
async def hook(units: UnitsOfWork, context: RequestContext) -> int:
    webhooks = WebhookService(units, bytes, False, context)
    return (await webhooks.create(NewWebhook(url="https://example.org/"))).result[0].id


async def put(units: UnitsOfWork, context: RequestContext, *deliveries: Delivery) -> None:
    await do(units, context, lambda work: work.deliveries.put(deliveries))


async def do(units: UnitsOfWork, context: RequestContext, act: Callable[[Any], Awaitable[Any]]) -> Any:
    async with units.writing(context) as work:
        done = await act(work)
        await work.commit(None)
        return done


async def listed(units: UnitsOfWork, hook: int, **options: Any) -> list[int]:
    async with units.reading() as work:
        return [each.change for each in await work.deliveries.list(hook, **{"limit": 100, **options})]


def done(change: int, state: DeliveryState = DeliveryState.DELIVERED) -> Delivery:
    return replace(BARE, change=change, state=state)


async def test_put_stores_a_delivery_and_replaces_an_older_one(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    await put(units, context, WHOLE, BARE)
    async with units.reading() as work:
        assert [await work.deliveries.get(hook, each.change) for each in (WHOLE, BARE)] == [WHOLE, BARE]

    later = replace(WHOLE, state=DeliveryState.DELIVERED, next_at=None, answer=None, holds=False)
    await put(units, context, later)
    async with units.writing(context) as work:
        assert await work.deliveries.get(hook, 7) == later
    await put(units, context)
    assert await listed(units, hook) == [2**53 - 1, 7]


@pytest.mark.parametrize(("webhook", "change"), [(1, 8), (2, 7), (0, 0), (-1, -1), (2**70, 2**70)])
async def test_a_missing_delivery_is_not_found(
    units: UnitsOfWork, context: RequestContext, hook: int, webhook: int, change: int
) -> None:
    await put(units, context, WHOLE)
    async with units.reading() as work:
        with pytest.raises(NotFound):
            await work.deliveries.get(webhook, change)


async def test_deliveries_end_with_their_webhook_and_are_not_stored_without_one(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    await put(units, context, WHOLE, replace(BARE, webhook_id=99))
    assert await listed(units, 99) == []
    await WebhookService(units, bytes, False, context).delete(hook)
    assert await listed(units, hook) == []


async def test_deliveries_are_listed_in_pages_with_the_newest_first(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    await put(units, context, *[done(number) for number in (3, 1, 2)], done(9, DeliveryState.SET_ASIDE))
    assert await listed(units, hook) == [9, 3, 2, 1]
    assert await listed(units, hook, limit=2) == [9, 3]
    assert await listed(units, hook, after=(3,)) == [2, 1]
    assert await listed(units, hook, state=DeliveryState.SET_ASIDE) == [9]
    assert await listed(units, hook, state=DeliveryState.DELIVERED, after=(3,), limit=1) == [2]
    assert BY_CHANGE.position(done(3)) == (3,)
    with pytest.raises(Malformed):
        await listed(units, hook, after=("3",))


async def test_lists_deliveries_that_are_still_to_be_sent_and_those_sent_on_request(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    asked = done(5).asked(NOON)
    await put(units, context, done(1), WHOLE, asked, done(8, DeliveryState.SET_ASIDE))
    async with units.reading() as work:
        assert await work.deliveries.open(hook) == [asked, WHOLE]
        assert await work.deliveries.asked() == [asked]
        assert await work.deliveries.open(99) == []


async def test_trim_keeps_the_newest_deliveries_and_forget_removes_old_ones(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    aside = [done(number, DeliveryState.SET_ASIDE) for number in (21, 22, 23)]
    await put(units, context, *[done(number) for number in range(1, 6)], *aside, WHOLE)
    await do(units, context, lambda work: work.deliveries.trim(hook, keep=2))
    assert await listed(units, hook) == [23, 22, 7, 5, 4]
    await do(units, context, lambda work: work.deliveries.trim(hook, keep=2))
    await do(units, context, lambda work: work.deliveries.forget(NOON))
    assert await listed(units, hook) == [23, 22, 7, 5, 4]
    await do(units, context, lambda work: work.deliveries.forget(NOON + timedelta(seconds=1)))
    assert await listed(units, hook) == [7]


async def test_an_erasure_removes_the_answers_of_receivers_about_the_user(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    users = UserService(units, context)
    for name in ("Alice", "Bob"):
        await users.create(NewUser(name=name))
    await put(
        units, context, *[replace(WHOLE, change=number, entity_id=number, answer="about them") for number in (1, 2)]
    )
    await users.purge(1)
    async with units.reading() as work:
        assert [(await work.deliveries.get(hook, number)).answer for number in (1, 2)] == [None, "about them"]


async def test_a_lease_is_taken_only_by_a_caller_that_saw_its_current_state(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async def take(holder: str, seen: Lease | None) -> bool:
        taken: bool = await do(units, context, lambda work: work.leases.take("w", holder, seen))
        return taken

    async def found() -> Lease | None:
        async with units.reading() as work:
            return await work.leases.find("w")

    assert await found() is None
    assert not await take("a", Lease("b", 1))
    assert await take("a", None)
    assert not await take("b", None)
    assert await found() == Lease("a", 1)
    await do(units, context, lambda work: work.leases.beat("w", "a"))
    with pytest.raises(Stale):
        await do(units, context, lambda work: work.leases.beat("w", "b"))
    assert not await take("b", Lease("a", 1))
    assert await take("b", Lease("a", 2))
    assert await found() == Lease("b", 3)
    await do(units, context, lambda work: work.leases.give_back("w", "a"))
    assert await found() == Lease("b", 3)
    await do(units, context, lambda work: work.leases.give_back("w", "b"))
    assert await found() is None


async def test_of_many_callers_that_take_a_lease_at_once_one_gets_it(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async def take(holder: str, seen: Lease) -> bool:
        taken: bool = await do(units, context, lambda work: work.leases.take("w", holder, seen))
        return taken

    await do(units, context, lambda work: work.leases.take("w", "old", None))
    taken = await asyncio.gather(*[take(str(number), Lease("old", 1)) for number in range(6)])
    assert sum(taken) == 1


async def test_a_unit_without_a_commit_stores_no_delivery_and_no_lease(
    units: UnitsOfWork, context: RequestContext, hook: int
) -> None:
    async with units.writing(context) as work:
        await work.deliveries.put([WHOLE])
        await work.leases.take("w", "a", None)
    assert await listed(units, hook) == []
    async with units.reading() as reading:
        assert await reading.leases.find("w") is None

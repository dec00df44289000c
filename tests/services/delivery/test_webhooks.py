"""What can be done with webhooks, on the fake."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from tests.conftest import MovedTime
from tests.services.receivers import take_all

from domain.delivery.deliveries import Answer, Delivery, DeliveryState
from domain.delivery.webhooks import NewWebhook, State
from domain.errors import Invalid, NotFound, Stale
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.delivery.deliveries import DeliveryService
from services.delivery.webhooks import MAX_OVERLAP, WebhookService
from services.users import UserService

URL: Final = "https://example.org/hooks"


@pytest.fixture
def webhooks(units: MemoryUnitsOfWork, context: RequestContext) -> WebhookService:
    return service(units, context)


def service(units: MemoryUnitsOfWork, context: RequestContext, *, allow_private: bool = False) -> WebhookService:
    return WebhookService(units, bytes, allow_private, context)


async def test_a_new_webhook_begins_with_the_next_change_or_in_the_past(
    units: MemoryUnitsOfWork, context: RequestContext, webhooks: WebhookService
) -> None:
    await UserService(units, context).create(NewUser(name="Alice"))
    assert (await webhooks.create(NewWebhook(url=URL))).result[0].position == 1
    assert (await webhooks.create(NewWebhook(url=URL), since=0)).result[0].position == 0
    with pytest.raises(Invalid):
        await webhooks.create(NewWebhook(url=URL), since=4)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://127.0.0.1/",
        "https://10.0.0.1:8443/", "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://2130706433/", "https://127.1/", "https://0/", "https://[fe80::1]/",
    ],
)  # fmt: skip
async def test_a_url_that_would_never_be_called_is_refused_at_once(
    units: MemoryUnitsOfWork, context: RequestContext, webhooks: WebhookService, url: str
) -> None:
    good = (await webhooks.create(NewWebhook(url=URL))).result[0]
    for refused in (webhooks.create(NewWebhook(url=url)), webhooks.patch(good.id, {"url": url})):
        with pytest.raises(Invalid) as invalid:
            await refused
        assert [fault.pointer for fault in invalid.value.faults] == ["/url"]
    assert (await service(units, context, allow_private=True).create(NewWebhook(url=url))).result[0].url == url


async def test_a_patch_changes_url_and_filter(webhooks: WebhookService) -> None:
    id = (await webhooks.create(NewWebhook(url=URL, filter='kind eq "user"'))).result[0].id
    patched = await webhooks.patch(id, {"url": URL + "/2", "filter": None}, expected=[1])
    assert (patched.result.url, patched.result.filter, patched.seq) == (URL + "/2", None, 2)
    assert (await webhooks.patch(id, {"filter": None})).seq is None
    with pytest.raises(Stale):
        await webhooks.patch(id, {"url": URL}, expected=[1])
    with pytest.raises(Stale):
        await webhooks.delete(id, expected=[1])


async def test_pausing_or_resuming_a_webhook_twice_writes_nothing(webhooks: WebhookService) -> None:
    id = (await webhooks.create(NewWebhook(url=URL))).result[0].id
    assert (await webhooks.resume(id)).seq is None
    assert (await webhooks.pause(id)).result.state is State.PAUSED
    assert (await webhooks.pause(id)).seq is None
    assert (await webhooks.resume(id)).result.state is State.ACTIVE


async def test_after_a_rotation_both_secrets_are_valid_for_a_while(
    units: MemoryUnitsOfWork, webhooks: WebhookService
) -> None:
    webhook, first = (await webhooks.create(NewWebhook(url=URL))).result
    await webhooks.rotate(webhook.id, overlap=timedelta(hours=1))
    async with units.reading() as work:
        new, old = await work.webhooks.secrets(webhook.id)
        rotated = await work.webhooks.get(webhook.id)
    assert (new.until, old.value) == (None, first.value)
    assert rotated.rotated_at is not None
    assert old.until == rotated.rotated_at + timedelta(hours=1)
    for overlap in (timedelta(seconds=-1), MAX_OVERLAP + timedelta(seconds=1)):
        with pytest.raises(Invalid):
            await webhooks.rotate(webhook.id, overlap=overlap)


@pytest.mark.parametrize("method", ["get", "rotate", "pause", "resume", "delete"])
async def test_an_unknown_webhook_is_not_found(webhooks: WebhookService, method: str) -> None:
    asked: Any = getattr(webhooks, method)
    with pytest.raises(NotFound):
        await asked(1)


async def test_webhooks_are_listed_in_pages(webhooks: WebhookService) -> None:
    for number in range(3):
        await webhooks.create(NewWebhook(url=f"https://example.org/{number}"))
    first = await webhooks.list(limit=2)
    assert ([each.id for each in first.items], first.more) == ([1, 2], True)
    rest = await webhooks.list(after=(2,), limit=2)
    assert ([each.id for each in rest.items], rest.more) == ([3], False)


async def test_a_test_message_is_sent_to_the_webhook_and_its_answer_returned(
    webhooks: WebhookService, units: MemoryUnitsOfWork, context: RequestContext, time: MovedTime
) -> None:
    sent: list[tuple[str, Mapping[str, str], bytes]] = []

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent.append((url, headers, body))
        return Answer(milliseconds=1, status=204)

    hook = (await webhooks.create(NewWebhook(url="https://example.org/hook"))).result[0]
    answer = await DeliveryService(units, bytes, post, time.clock, context).test(hook.id)
    assert answer.status == 204
    [(url, headers, body)] = sent
    assert (url, headers["webhook-id"]) == (hook.url, f"msg_test_{'00' * 8}")
    assert json.loads(body)["data"] == {"webhook_id": hook.id}


async def test_the_deliveries_of_an_unknown_webhook_are_not_found(
    webhooks: WebhookService, units: MemoryUnitsOfWork, context: RequestContext, time: MovedTime
) -> None:
    async def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise AssertionError(url)

    deliveries = DeliveryService(units, bytes, post, time.clock, context)
    for attempt in (deliveries.list(1, limit=9), deliveries.send_again(1, 1), deliveries.test(1)):
        with pytest.raises(NotFound, match="no webhook"):
            await attempt
    hook = (await webhooks.create(NewWebhook(url=URL))).result[0]
    assert not (await deliveries.list(hook.id, limit=9)).items
    with pytest.raises(NotFound, match="no delivery"):
        await deliveries.send_again(hook.id, 1)


async def test_deliveries_are_listed_in_pages_and_can_be_requested_again(
    webhooks: WebhookService, units: MemoryUnitsOfWork, context: RequestContext, time: MovedTime
) -> None:
    hook = (await webhooks.create(NewWebhook(url=URL))).result[0]
    async with units.reading() as work:
        (change,) = await work.changes.list(limit=9)
    made = [
        replace(Delivery.of(change, hook.id), change=number, state=DeliveryState.DELIVERED, attempts=3)
        for number in (1, 2, 3)
    ]
    async with units.writing(context) as work:
        await work.deliveries.put(made)
        await work.commit(None)
    deliveries = DeliveryService(units, bytes, take_all, time.clock, context)
    first = await deliveries.list(hook.id, limit=2)
    assert ([each.change for each in first.items], first.more) == ([3, 2], True)
    rest = await deliveries.list(hook.id, after=(2,), limit=2)
    assert ([each.change for each in rest.items], rest.more) == ([1], False)

    asked = (await deliveries.send_again(hook.id, 2)).result
    assert (asked.state, asked.attempts) == (DeliveryState.ASKED, 0)
    assert (await deliveries.list(hook.id, state=DeliveryState.ASKED, limit=9)).items == [asked]

"""What every store of webhooks promises."""

import json
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from domain.changes import Change
from domain.delivery.webhooks import NewWebhook, Progress, Secret, State, Webhook
from domain.errors import NotFound
from domain.work import RequestContext, UnitsOfWork
from services.delivery.webhooks import WebhookService

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
URL: Final = "https://example.org/hooks"
SECRET: Final = Secret(b"s" * 32)


@pytest.fixture
def webhooks(units: UnitsOfWork, context: RequestContext) -> WebhookService:
    return WebhookService(units, lambda length: b"s" * length, False, context)


async def add(units: UnitsOfWork, context: RequestContext, new: NewWebhook | None = None) -> Webhook:
    async with units.writing(context) as work:
        webhook = await work.webhooks.add(new or NewWebhook(url=URL))
        await work.webhooks.keep_secrets(webhook.id, [SECRET])
        await work.commit(None)
    return webhook


async def kept(units: UnitsOfWork, id: int) -> Webhook:
    async with units.reading() as work:
        return await work.webhooks.get(id)


async def secrets(units: UnitsOfWork, id: int) -> list[Secret]:
    async with units.reading() as work:
        return list(await work.webhooks.secrets(id))


async def feed(units: UnitsOfWork) -> list[Change]:
    async with units.reading() as work:
        return list(await work.changes.list(limit=100))


async def note(units: UnitsOfWork, context: RequestContext, *progress: Progress) -> None:
    async with units.writing(context) as work:
        await work.webhooks.note_progress(progress)
        await work.commit(None)


async def test_a_webhook_is_stored_with_all_its_fields(units: UnitsOfWork, context: RequestContext) -> None:
    new = NewWebhook(url=URL, filter='kind eq "user"', state=State.PAUSED, position=7)
    webhook = await add(units, context, new)

    assert webhook == await kept(units, webhook.id)
    assert (webhook.url, webhook.filter, webhook.state, webhook.position) == (URL, new.filter, State.PAUSED, 7)
    assert (webhook.rotated_at, webhook.failing_since) == (None, None)


async def test_secrets_are_stored_beside_the_webhook_and_appear_in_no_change(
    units: UnitsOfWork, context: RequestContext, webhooks: WebhookService
) -> None:
    webhook = await add(units, context)
    assert await secrets(units, webhook.id) == [SECRET]

    rotated, _ = (await webhooks.rotate(webhook.id, overlap=timedelta(hours=1))).result

    assert rotated.rotated_at is not None
    assert await secrets(units, webhook.id) == [SECRET, Secret(SECRET.value, rotated.rotated_at + timedelta(hours=1))]
    async with units.writing(context) as work:
        assert [each.until for each in await work.webhooks.secrets(webhook.id)] == [
            None,
            rotated.rotated_at + timedelta(hours=1),
        ]
    recorded = json.dumps([[each.before, each.after] for each in await feed(units)])
    assert "sss" not in recorded
    assert "c3Nz" not in recorded


@pytest.mark.parametrize("id", [0, -1, 9, 2**53, 2**70])
async def test_a_missing_webhook_has_no_secrets(units: UnitsOfWork, id: int) -> None:
    assert await secrets(units, id) == []


async def test_note_progress_updates_many_webhooks_and_writes_no_change(
    units: UnitsOfWork, context: RequestContext
) -> None:
    one, other, third = [await add(units, context) for _ in range(3)]
    written = len(await feed(units))

    later = NOON + timedelta(hours=1)
    await note(units, context, Progress(one.id, 5, NOON, later), Progress(other.id, 2**53 - 1), Progress(99, 1))

    assert [
        (each.position, each.failing_since, each.silent_until, each.version)
        for each in [await kept(units, id) for id in (one.id, other.id, third.id)]
    ] == [(5, NOON, later, 1), (2**53 - 1, None, None, 1), (0, None, None, 1)]
    assert len(await feed(units)) == written
    await note(units, context)
    await note(units, context, Progress(one.id, 6))
    again = await kept(units, one.id)
    assert (again.failing_since, again.silent_until) == (None, None)


async def test_saving_keeps_the_progress(units: UnitsOfWork, context: RequestContext) -> None:
    seen = await add(units, context)
    await note(units, context, Progress(seen.id, 5, NOON, NOON))

    async with units.writing(context) as work:
        saved = await work.webhooks.save(seen.set_to(State.PAUSED))
        await work.commit(None)

    assert saved == await kept(units, seen.id)
    assert (saved.state, saved.position, saved.failing_since) == (State.PAUSED, 5, NOON)
    assert (await feed(units))[-1].after == {"state": "paused"}


async def test_a_deleted_webhook_is_gone_with_its_secrets(
    units: UnitsOfWork, context: RequestContext, webhooks: WebhookService
) -> None:
    webhook = await add(units, context)
    await webhooks.delete(webhook.id)

    with pytest.raises(NotFound):
        await kept(units, webhook.id)
    assert await secrets(units, webhook.id) == []
    last = (await feed(units))[-1]
    assert (last.action, last.before) == ("ended", {**(last.before or {}), "url": URL})

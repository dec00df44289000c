"""Changes are delivered to a receiver over HTTP, signed, and listed as deliveries. On both databases."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient
from standardwebhooks import Webhook as Standard
from tests.api.delivery.conftest import Receiver, receiving

from api.app import create_app
from api.container import Container
from api.messages import ChangeMessage
from api.messages import TestMessage as MessageOfATest  # pytest would take its own name for a test
from api.settings import Settings
from services.delivery import deliverer, lease

pytestmark = pytest.mark.heavy  # starts the process that sends

DEADLINE_S = 30


@pytest.fixture(autouse=True)
def looked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks for requested deliveries, and for its lease, every 50 ms instead of 2 s."""
    for module in (deliverer, lease):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiving(receiver.handle) as port:
        receiver.port = port
        yield receiver


@asynccontextmanager
async def delivering(url: str) -> AsyncIterator[AsyncClient]:
    settings = Settings(database_url=url, webhooks_allow_private=True, pool_size=4)
    app = create_app(Container(settings=providers.Object(settings)), open_locally=True, delivers=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncClient]:
    async with delivering(database_url) as client:
        yield client


async def until(is_so: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = is_so()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(0.02)


def headers_in(head: bytes) -> Mapping[str, str]:
    lines = head.decode().strip().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def deliveries(client: AsyncClient, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"/webhooks/1/deliveries/{query}")).json()
    return found


async def test_a_change_is_delivered_as_the_feed_shows_it_with_a_valid_signature(
    client: AsyncClient, receiver: Receiver
) -> None:
    created = await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
    await client.post("/users/", json={"name": "Älice", "attributes": {"ratio": 1.5}})
    await until(lambda: len(receiver.bodies) == 1)

    message = Standard(created.json()["secret"]).verify(receiver.bodies[0], dict(headers_in(receiver.heads[0])))
    (_, change) = (await client.get("/changes/")).json()
    assert message == {"type": "user.created", "timestamp": change["at"], "data": change}
    assert ChangeMessage.model_validate_json(receiver.bodies[0]).data.seq == change["seq"]
    assert message.keys() == ChangeMessage.model_fields.keys()


async def test_deliveries_are_listed_and_a_failed_one_can_be_sent_again(
    client: AsyncClient, receiver: Receiver
) -> None:
    receiver.answer = b"HTTP/1.1 503 X\r\nRetry-After: 3600\r\nContent-Length: 4\r\n\r\nbusy"
    await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
    await client.post("/users/", json={"name": "Alice"})

    async def is_noted() -> bool:
        return len(await deliveries(client)) == 1

    await until(is_noted)
    (failed,) = await deliveries(client, "?state=retrying")
    assert {
        name: failed[name] for name in ("change", "type", "entity_id", "state", "attempts", "status", "answer")
    } == {
        "change": 2,
        "type": "user.created",
        "entity_id": 1,
        "state": "retrying",
        "attempts": 1,
        "status": 503,
        "answer": "busy",
    }
    assert failed["next_at"] > failed["at"]
    assert (await client.get("/webhooks/1")).json()["state"] == "failing"

    receiver.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    await client.post("/webhooks/1/pause")
    await client.post("/webhooks/1/resume")

    async def is_delivered() -> bool:
        return [each["state"] for each in await deliveries(client)] == ["delivered"]

    await until(is_delivered)
    asked = await client.post("/webhooks/1/deliveries/2/retry")
    assert (asked.status_code, asked.json()["state"]) == (202, "asked")
    await until(lambda: len(receiver.bodies) == 3)
    assert len({headers_in(head)["webhook-id"] for head in receiver.heads}) == 1
    assert (await client.get("/webhooks/1")).json()["state"] == "active"
    assert (await client.post("/webhooks/1/deliveries/9/retry")).status_code == 404
    assert (await client.get("/webhooks/9/deliveries/")).status_code == 404


async def test_a_list_of_deliveries_has_pages(client: AsyncClient, receiver: Receiver) -> None:
    await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
    for _ in range(5):
        await client.post("/users/", json={"name": "Alice"})

    async def are_noted() -> bool:
        return len(await deliveries(client)) == 5

    await until(are_noted)
    first = await client.get("/webhooks/1/deliveries/?limit=3")
    assert [each["change"] for each in first.json()] == [6, 5, 4]
    second = await client.get(first.links["next"]["url"])
    assert [each["change"] for each in second.json()] == [3, 2]
    assert "next" not in second.links


async def test_a_test_message_is_sent_at_once_and_not_recorded(client: AsyncClient, receiver: Receiver) -> None:
    created = await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
    receiver.answer = b"HTTP/1.1 418 X\r\nContent-Length: 3\r\n\r\ntea"
    tested = await client.post("/webhooks/1/test")
    assert tested.status_code == 200
    answer = tested.json()
    assert answer.pop("milliseconds") >= 0
    assert answer == {"status": 418, "error": None, "answer": "tea"}
    message = Standard(created.json()["secret"]).verify(receiver.bodies[0], dict(headers_in(receiver.heads[0])))
    assert (message["type"], message["data"]) == ("webhook.test", {"webhook_id": 1})
    assert MessageOfATest.model_validate(message).data.webhook_id == 1
    assert await deliveries(client) == []


async def test_messages_are_signed_with_the_rotated_and_the_old_secret(client: AsyncClient, receiver: Receiver) -> None:
    created = await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
    rotated = await client.post("/webhooks/1/rotate")
    await client.post("/users/", json={"name": "Alice"})
    await until(lambda: len(receiver.bodies) == 1)
    for each in (created, rotated):
        assert Standard(each.json()["secret"]).verify(receiver.bodies[0], dict(headers_in(receiver.heads[0])))


async def test_a_restarted_server_continues_the_delivery(database_url: str, receiver: Receiver) -> None:
    async with delivering(database_url) as client:
        await client.post("/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"'})
        await client.post("/users/", json={"name": "Alice"})
        await until(lambda: len(receiver.bodies) == 1)
    async with delivering(database_url) as client:
        await client.post("/users/", json={"name": "Bob"})
        await until(lambda: len(receiver.bodies) == 2)

        async def is_counted() -> bool:
            return 'roster_webhook_deliveries_total{outcome="delivered"} 1.0' in (await client.get("/metrics")).text

        await until(is_counted)
        metrics = (await client.get("/metrics")).text
    assert [json.loads(body)["data"]["seq"] for body in receiver.bodies] == [2, 3]
    assert "roster_webhook_lag_seconds" in metrics

"""Webhooks over HTTP, on both databases."""

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient

from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory

URL = "https://example.org/hooks"
FIELDS = {"id", "url", "filter", "state", "position", "failing_since", "silent_until", "created_at", "rotated_at"}


async def test_a_created_webhook_is_shown_with_its_secret(database_client: AsyncClient) -> None:
    client = database_client
    created = await client.post("/webhooks/", json={"url": URL, "filter": 'kind eq "user"', "since": 0.0})

    assert created.status_code == 201, created.text
    body = created.json()
    assert body.keys() == FIELDS | {"secret"}
    assert (body["id"], body["url"], body["state"], body["position"]) == (1, URL, "active", 0)
    assert body["secret"].startswith("whsec_")
    assert created.headers["cache-control"] == "no-store"
    assert (created.headers["location"], created.headers["roster-seq"]) == ("/webhooks/1", "1")

    shown = await client.get("/webhooks/1")
    assert shown.json() == {name: body[name] for name in FIELDS}
    assert (await client.get("/webhooks")).json() == [shown.json()]
    everything = shown.text + (await client.get("/changes/")).text + (await client.get("/webhooks/")).text
    assert "secret" not in everything


async def test_a_webhook_is_patched_paused_rotated_and_removed(database_client: AsyncClient) -> None:
    client = database_client
    secret = (await client.post("/webhooks/", json={"url": URL})).json()["secret"]

    patched = await client.patch("/webhooks/1", json={"filter": 'kind eq "user"'}, headers={"if-match": '"1"'})
    assert (patched.status_code, patched.json()["filter"], patched.headers["etag"]) == (200, 'kind eq "user"', '"2"')
    assert (await client.patch("/webhooks/1", json={"url": URL}, headers={"if-match": '"1"'})).status_code == 412
    assert (await client.post("/webhooks/1/pause")).json()["state"] == "paused"
    assert (await client.post("/webhooks/1/resume")).json()["state"] == "active"
    rotated = await client.post("/webhooks/1/rotate?overlap=1m")
    assert rotated.json()["secret"] != secret
    assert rotated.headers["cache-control"] == "no-store"
    assert (await client.delete("/webhooks/1")).status_code == 204
    assert (await client.get("/webhooks/1")).status_code == 404
    changes = (await client.get("/changes/")).json()
    assert [each["action"] for each in changes] == ["created", *["updated"] * 4, "ended"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "http://example.org/"}, "/body/url"),
        ({"url": "https://127.0.0.1/"}, "/body/url"),
        ({"url": URL, "filter": "kind eq"}, "/body/filter"),
        ({"url": URL, "since": 1}, "/body/since"),
        ({"url": URL, "since": -1}, "/body/since"),
        ({"url": URL, "since": "0"}, "/body/since"),
        ({"url": URL, "state": "paused"}, "/body/state"),
        ({"url": URL, "position": 0}, "/body/position"),
        ({}, "/body/url"),
    ],
)
async def test_a_refusal_has_the_pointer_of_the_fault(client: AsyncClient, body: dict[str, Any], pointer: str) -> None:
    refused = await client.post("/webhooks/", json=body)
    assert (refused.status_code, [each["pointer"] for each in refused.json()["errors"]]) == (422, [pointer])
    assert (await client.get("/webhooks/")).json() == []


async def test_webhooks_need_their_own_scope(directory: "Directory") -> None:
    _, secret = await directory.key(*(each for each in Scope if each is not Scope.WEBHOOKS_ADMIN))
    for method, path in (("POST", "/webhooks/"), ("GET", "/webhooks/"), ("GET", "/webhooks/1")):
        refused = await directory.ask(method, path, key=secret)
        assert refused.status_code == 403
        assert refused.json()["detail"] == "This needs the scope webhooks:admin."

"""From creation to erasure, over HTTP, on both databases."""

from typing import Any, Final

import pytest
from httpx2 import AsyncClient, Response

KEYS = {"email": "Alice@Example.org", "username": "alice", "external_id": "hr-4711"}
RICH = {"name": "Alice", **KEYS, "status": "suspended", "attributes": {"department": "eng", "floors": [1, None]}}


async def create(client: AsyncClient, **body: object) -> str:
    """The path of a new user."""
    created = await client.post("/users/", json=body)
    assert created.status_code == 201, created.text
    return str(created.headers["location"])


async def feed(client: AsyncClient) -> list[dict[str, Any]]:
    recorded: list[dict[str, Any]] = (await client.get("/changes/?limit=1000")).json()
    return recorded


def refusal(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_user_is_suspended_and_activated_by_its_status(database_client: AsyncClient) -> None:
    alice = await create(database_client, name="Alice")

    suspended = await database_client.patch(alice, json={"status": "suspended"})
    active = await database_client.patch(alice, json={"status": "active"})

    assert (suspended.status_code, suspended.json()) == (200, {"id": 1, "name": "Alice", "status": "suspended"})
    assert (active.status_code, active.json()) == (200, {"id": 1, "name": "Alice"})
    assert [(each["before"], each["after"]) for each in (await feed(database_client))[1:]] == [
        ({"status": "active"}, {"status": "suspended"}),
        ({"status": "suspended"}, {"status": "active"}),
    ]


async def test_a_suspended_user_is_still_found_and_keeps_its_keys(database_client: AsyncClient) -> None:
    await create(database_client, **RICH)

    assert (await database_client.get("/users/by/username/alice")).json()["status"] == "suspended"
    assert (await database_client.post("/users/", json={"name": "Eve", "username": "ALICE"})).status_code == 409


BAD_STATUSES: Final = ["deleted", "Active", "", 1, True, ["active"]]


async def test_another_status_is_refused(database_client: AsyncClient) -> None:
    alice = await create(database_client, name="Alice")

    for status in BAD_STATUSES:
        refused = await database_client.patch(alice, json={"status": status})

        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/body/status"
        assert (await database_client.get(alice)).headers["etag"] == '"1"'


async def test_a_deleted_user_is_hidden_in_every_list_and_search(database_client: AsyncClient) -> None:
    alice = await create(database_client, **RICH)
    bob = await create(database_client, name="Bob", status="suspended")
    await database_client.delete(alice)

    for lists in ("", "?sort=-name", '?filter=name+eq+"alice"', "?email=alice@example.org", "?status=suspended"):
        listed = await database_client.get(f"/users/{lists}{'&' if lists else '?'}count=true")
        shown = [f"/users/{user['id']}" for user in listed.json()]
        assert alice not in shown, lists
        assert listed.headers["x-total-count"] == str(len(shown)), lists
    assert [user["name"] for user in (await database_client.get("/users/?status=suspended")).json()] == ["Bob"]
    for key in ("email/alice@example.org", "username/alice", "external-id/hr-4711"):
        assert refusal(await database_client.get(f"/users/by/{key}")) == (404, "not_found")
    assert (await database_client.get(bob)).status_code == 200


async def test_a_deleted_user_is_a_410_except_for_its_history_and_its_restoration(
    database_client: AsyncClient,
) -> None:
    alice = await create(database_client, **RICH)
    await database_client.delete(alice)

    answers = [
        await database_client.get(alice),
        await database_client.patch(alice, json={"name": "Eve"}),
        await database_client.delete(alice),
    ]

    assert [refusal(answer) for answer in answers] == [(410, "gone")] * 3
    assert [each["action"] for each in (await database_client.get(f"{alice}/changes/")).json()] == [
        "created",
        "deleted",
    ]


async def test_a_restored_user_has_all_its_values_and_keys(database_client: AsyncClient) -> None:
    alice = await create(database_client, **RICH)
    await database_client.delete(alice)

    restored = await database_client.post(f"{alice}/restore")

    assert (restored.status_code, restored.json()) == (200, {"id": 1, **RICH})
    assert restored.headers["etag"] == '"3"'
    assert (await database_client.get(alice)).content == restored.content
    for key in ("email/alice@example.org", "username/ALICE", "external-id/hr-4711"):
        assert (await database_client.get(f"/users/by/{key}")).json()["id"] == 1
    for key, value in KEYS.items():
        assert refusal(await database_client.post("/users/", json={"name": "Eve", key: value})) == (409, "conflict")
    *_, last = await feed(database_client)
    assert (last["action"], last["version"], last["after"]) == ("restored", 3, {"deleted_at": None})
    assert restored.headers["roster-seq"] == str(last["seq"])


@pytest.mark.parametrize(
    ("key", "taken"), [("email", "ALICE@EXAMPLE.ORG"), ("username", "ALICE"), ("external_id", "hr-4711")]
)
async def test_a_restoration_is_refused_with_the_name_of_a_key_that_is_taken(
    database_client: AsyncClient, key: str, taken: str
) -> None:
    alice = await create(database_client, **RICH)
    await database_client.delete(alice)
    thief = await create(database_client, name="Eve", **{key: taken})

    refused = await database_client.post(f"{alice}/restore")

    assert refusal(refused) == (409, "conflict")
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [(f"/body/{key}", "taken")]
    assert refusal(await database_client.get(alice)) == (410, "gone")
    await database_client.patch(thief, json={key: None})
    assert (await database_client.post(f"{alice}/restore")).status_code == 200


async def test_restoring_a_user_that_is_not_deleted_writes_nothing(database_client: AsyncClient) -> None:
    alice = await create(database_client, **RICH)

    restored = await database_client.post(f"{alice}/restore")

    assert (restored.status_code, restored.json(), restored.headers["etag"]) == (200, {"id": 1, **RICH}, '"1"')
    assert "roster-seq" not in restored.headers
    assert len(await feed(database_client)) == 1


async def test_restoring_an_erased_or_unknown_user_is_a_404(database_client: AsyncClient) -> None:
    alice = await create(database_client, name="Alice")
    await database_client.delete(f"{alice}?purge=true")

    for path in (alice, "/users/2"):
        assert refusal(await database_client.post(f"{path}/restore")) == (404, "not_found")


@pytest.mark.parametrize("deleted", [False, True])
async def test_an_erased_user_leaves_only_its_id_and_changes_without_values(
    database_client: AsyncClient, deleted: bool
) -> None:
    alice = await create(database_client, **RICH)
    await database_client.patch(alice, json={"name": "Alicia", "attributes": {"department": "sales"}})
    if deleted:
        await database_client.delete(alice)
    recorded = await feed(database_client)

    erased = await database_client.delete(f"{alice}?purge=true", headers={"x-request-id": "r-purge"})

    assert (erased.status_code, erased.content) == (204, b"")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("DELETE", "?purge=true"), ("POST", "/restore")):
        answer = await database_client.request(method, alice + path, json={} if method == "PATCH" else None)
        assert refusal(answer) == (404, "not_found")
    *old, last = await feed(database_client)
    assert old == [{**change, "before": None, "after": None} for change in recorded]
    assert (last["action"], last["version"], last["request_id"]) == ("purged", 4 if deleted else 3, "r-purge")
    assert (last["before"], last["after"]) == (None, None)
    assert erased.headers["roster-seq"] == str(last["seq"])
    assert (await database_client.get(f"{alice}/changes/")).json() == [*old, last]
    assert await create(database_client, **RICH) == "/users/2"


async def test_an_erasure_does_not_change_other_users(database_client: AsyncClient) -> None:
    once = {"idempotency-key": "create-bob"}
    bob = await database_client.post("/users/", json={"name": "Bob", "username": "bob"}, headers=once)
    alice = await create(database_client, **RICH)
    await database_client.patch("/users/1", json={"attributes": {"department": "eng"}})
    recorded, shown = await feed(database_client), (await database_client.get("/users/1?fields=*")).content

    await database_client.delete(f"{alice}?purge=true")

    assert (await database_client.get("/users/1?fields=*")).content == shown
    left = {change["seq"]: change for change in await feed(database_client)}
    assert [left[change["seq"]] for change in recorded if change["entity_id"] == 1] == [
        change for change in recorded if change["entity_id"] == 1
    ]
    again = await database_client.post("/users/", json={"name": "Bob", "username": "bob"}, headers=once)
    assert (again.content, again.headers["idempotency-replayed"]) == (bob.content, "true")


async def test_an_erasure_removes_stored_answers_about_the_user(database_client: AsyncClient) -> None:
    once = {"idempotency-key": "create-alice"}
    await database_client.post("/users/", json=RICH, headers=once)
    await database_client.delete("/users/1")
    await database_client.post("/users/1/restore", headers={"idempotency-key": "restore-alice"})

    await database_client.delete("/users/1?purge=true")

    created_again = await database_client.post("/users/", json=RICH, headers=once)
    assert (created_again.status_code, created_again.json()["id"]) == (201, 2)
    assert "idempotency-replayed" not in created_again.headers
    restored = await database_client.post("/users/1/restore", headers={"idempotency-key": "restore-alice"})
    assert refusal(restored) == (404, "not_found")


@pytest.mark.parametrize("purge", ["false", "0", "no"])
async def test_only_a_true_value_of_purge_erases(database_client: AsyncClient, purge: str) -> None:
    alice = await create(database_client, name="Alice")

    await database_client.delete(f"{alice}?purge={purge}")

    assert refusal(await database_client.get(alice)) == (410, "gone")


async def test_an_invalid_value_of_purge_is_refused_and_does_nothing(database_client: AsyncClient) -> None:
    alice = await create(database_client, name="Alice")

    assert (await database_client.delete(f"{alice}?purge=")).status_code == 422
    assert (await database_client.delete(f"{alice}?purge=perhaps")).status_code == 422
    assert (await database_client.delete(f"{alice}?pruge=true")).status_code == 422
    assert (await database_client.get(alice)).status_code == 200

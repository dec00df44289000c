"""Many operations on users in one request."""

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient, Response

from domain.batches import MOST
from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory


async def batch(client: AsyncClient, *operations: dict[str, Any], atomic: bool = False, **options: Any) -> Response:
    return await client.post("/users/batch", json={"atomic": atomic, "operations": operations}, **options)


def statuses(answer: Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [each["status"] for each in answer.json()["results"]]


async def names(client: AsyncClient) -> list[str]:
    return [user["name"] for user in (await client.get("/users/")).json()]


@pytest.fixture(autouse=True)
async def alice_and_bob(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice", "external_id": "a", "email": "alice@x.org"})
    await client.post("/users/", json={"name": "Bob", "external_id": "b"})
    await client.delete("/users/2")


ALL: list[dict[str, Any]] = [
    {"op": "create", "body": {"name": "Carol", "attributes": {"floor": 3}}},
    {"op": "patch", "id": 1, "if_match": '"1"', "body": {"name": "Alicia", "email": None}},
    {"op": "put", "external_id": "d", "body": {"name": "Dora"}},
]


async def test_each_operation_has_the_result_of_its_single_request(client: AsyncClient) -> None:
    answer = await batch(client, *ALL)
    assert answer.json()["results"] == [
        {"status": 201, "id": 3, "etag": '"1"'},
        {"status": 200, "id": 1, "etag": '"2"'},
        {"status": 201, "id": 4, "etag": '"1"'},
    ]
    assert (await client.get("/users/1")).json() == {"id": 1, "name": "Alicia", "external_id": "a"}
    changes = (await client.get("/changes/?since=3")).json()
    assert {(each["entity_id"], each["action"]) for each in changes} == {
        (3, "created"),
        (1, "updated"),
        (4, "created"),
    }
    assert answer.headers["roster-seq"] == str(changes[-1]["seq"])


async def test_users_can_be_named_by_their_external_ids(client: AsyncClient) -> None:
    done = await batch(
        client,
        {"op": "put", "external_id": "a", "body": {"name": "Alicia"}},
        {"op": "put", "external_id": "b", "body": {"name": "Another Bob"}},
    )
    assert statuses(done) == [200, 201]
    assert statuses(await batch(client, {"op": "delete", "external_id": "a"})) == [204]
    assert await names(client) == ["Another Bob"]


REFUSED = [
    ({"op": "patch", "id": 2, "body": {"name": "B"}}, 410, "gone"),
    ({"op": "delete", "id": 2}, 410, "gone"),
    ({"op": "patch", "id": 9, "body": {"name": "B"}}, 404, "not_found"),
    ({"op": "delete", "external_id": "none"}, 404, "not_found"),
    ({"op": "patch", "id": 1, "if_match": '"7"', "body": {"name": "B"}}, 412, "stale"),
    ({"op": "put", "external_id": "z", "if_match": '"1"', "body": {"name": "B"}}, 412, "stale"),
    ({"op": "create", "body": {"name": "B", "email": "ALICE@x.org"}}, 409, "taken"),
    ({"op": "create", "body": {"name": " "}}, 422, "invalid"),
    ({"op": "create", "body": {}}, 422, "invalid"),
    ({"op": "create", "body": {"name": "B", "scim": {}}}, 422, "invalid"),
    ({"op": "create", "body": {"name": "B", "id": 7}}, 422, "invalid"),
    ({"op": "put", "external_id": "a", "body": {"name": "B", "external_id": "c"}}, 422, "invalid"),
    ({"op": "patch", "id": 1, "body": {"nmae": "B"}}, 422, "invalid"),
]


@pytest.mark.parametrize(("operation", "status", "code"), REFUSED)
async def test_a_refused_operation_does_not_stop_the_others(
    client: AsyncClient, operation: dict[str, Any], status: int, code: str
) -> None:
    answer = await batch(client, operation, {"op": "create", "body": {"name": "Good"}})
    refused, good = answer.json()["results"]
    assert (refused["status"], refused["code"], good["status"]) == (status, code, 201)
    assert "ALICE" not in answer.text
    assert await names(client) == ["Alice", "Good"]


@pytest.mark.parametrize(("operation", "status", "code"), REFUSED)
async def test_an_atomic_batch_with_a_refused_operation_stores_nothing(
    client: AsyncClient, operation: dict[str, Any], status: int, code: str
) -> None:
    answer = await batch(client, {"op": "create", "body": {"name": "Good"}}, operation, atomic=True)
    good, refused = answer.json()["results"]
    assert (good, refused["status"], refused["code"]) == ({"status": 424}, status, code)
    assert await names(client) == ["Alice"]


async def test_the_result_of_an_operation_names_each_broken_rule(client: AsyncClient) -> None:
    answer = await batch(client, {"op": "create", "body": {"name": "", "email": 3}})
    (refused,) = answer.json()["results"]
    assert [(each["pointer"], each["code"]) for each in refused["errors"]] == [
        ("/body/name", "too_short"),
        ("/body/email", "wrong_type"),
    ]


async def test_the_same_user_or_unique_value_twice_in_a_batch_is_refused(client: AsyncClient) -> None:
    twice = await batch(
        client,
        {"op": "patch", "id": 1, "body": {"name": "Alicia"}},
        {"op": "delete", "external_id": "a"},
        {"op": "create", "body": {"name": "C", "email": "c@x.org"}},
        {"op": "create", "body": {"name": "D", "email": "C@x.org"}},
    )
    assert statuses(twice) == [200, 422, 201, 422]


async def test_a_patch_that_changes_nothing_writes_nothing(client: AsyncClient) -> None:
    answer = await batch(client, {"op": "patch", "id": 1, "body": {"name": "Alice"}})
    assert answer.json()["results"] == [{"status": 200, "id": 1, "etag": '"1"'}]
    assert "roster-seq" not in answer.headers


async def test_a_dry_run_stores_nothing(client: AsyncClient) -> None:
    answer = await client.post("/users/batch?dry_run=true", json={"operations": ALL})
    assert statuses(answer) == [201, 200, 201]
    assert answer.headers["dry-run"] == "true"
    assert await names(client) == ["Alice"]


async def test_a_batch_with_an_idempotency_key_is_carried_out_once(client: AsyncClient) -> None:
    first = await batch(client, *ALL, headers={"idempotency-key": "batch-17"})
    again = await batch(client, *ALL, headers={"idempotency-key": "batch-17"})
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json(), again.headers["roster-seq"]) == (first.json(), first.headers["roster-seq"])
    assert len(await names(client)) == 3
    other = await batch(client, ALL[0], headers={"idempotency-key": "batch-17"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "create", "id": 1, "body": {"name": "B"}},
        {"op": "create"},
        {"op": "patch", "body": {"name": "B"}},
        {"op": "patch", "id": 1},
        {"op": "patch", "id": 1, "external_id": "a", "body": {}},
        {"op": "put", "id": 1, "body": {"name": "B"}},
        {"op": "delete", "id": 1, "body": {}},
        {"op": "purge", "id": 1},
        {"op": "delete", "id": "1"},
        {"op": "delete", "id": 1, "extra": True},
    ],
)
async def test_an_operation_of_the_wrong_form_refuses_the_request(
    client: AsyncClient, operation: dict[str, Any]
) -> None:
    refused = await batch(client, {"op": "create", "body": {"name": "Good"}}, operation)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert refused.json()["errors"][0]["pointer"].startswith("/body/operations/1")
    assert await names(client) == ["Alice"]


@pytest.mark.parametrize("number", [0, MOST + 1])
async def test_the_size_of_a_batch_is_bounded(client: AsyncClient, number: int) -> None:
    assert (await batch(client, *[{"op": "delete", "id": 1}] * number)).status_code == 422


async def test_a_full_batch_is_carried_out_on_each_database(database_client: AsyncClient) -> None:
    new = [{"op": "create", "body": {"name": f"User {n}", "external_id": f"x{n}"}} for n in range(MOST)]
    assert statuses(await batch(database_client, *new)) == [201] * MOST
    gone = [{"op": "delete", "external_id": f"x{n}"} for n in range(100)]
    assert statuses(await batch(database_client, *gone, atomic=True)) == [204] * 100
    count = await database_client.get("/users/?count=true&limit=1")
    assert count.headers["x-total-count"] == str(MOST - 100)


async def test_a_batch_needs_the_scope_to_write_users(directory: "Directory") -> None:
    _, reader = await directory.key(Scope.USERS_READ)
    body = {"operations": [{"op": "create", "body": {"name": "B"}}]}
    refused = await directory.ask("POST", "/users/batch", key=reader, json=body)
    assert (refused.status_code, refused.json()["detail"]) == (403, "This needs the scope users:write.")


@pytest.mark.parametrize("atomic", [0, "true", None])
async def test_the_field_atomic_accepts_only_true_or_false(client: AsyncClient, atomic: object) -> None:
    operations = [{"op": "create", "body": {"name": "Alice"}}]
    refused = await client.post("/users/batch", json={"atomic": atomic, "operations": operations})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/atomic")

"""A client that keeps a copy of the directory: from a list, then from the changes. On both databases."""

import json
from typing import Any

from httpx2 import AsyncClient

NDJSON = {"accept": "application/x-ndjson"}


async def test_a_copy_begins_with_a_stream_and_follows_the_changes(database_client: AsyncClient) -> None:
    client = database_client
    for name in ("Alice", "Bob", "Carol"):
        await client.post("/users/", json={"name": name})
    await client.delete("/users/2")

    begun = await client.get("/users/?deleted=any", headers=NDJSON)
    copy = {user["id"]: user for user in map(json.loads, begun.text.splitlines())}
    assert [name for name in copy[2] if name.endswith("_at")] == ["deleted_at"]
    await client.patch("/users/1", json={"name": "Alicia"})
    await client.post("/users/2/restore")

    followed = await client.get("/changes/", params={"since": begun.headers["Roster-Seq"]})
    followed_changes = [(change["action"], change["entity_id"]) for change in followed.json()]
    assert (begun.headers["Roster-Seq"], followed_changes) == ("4", [("updated", 1), ("restored", 2)])
    assert followed.headers["Roster-Seq"] == "6"
    assert followed.headers["Link"].startswith("</changes/?since=6>")


async def test_every_form_of_a_list_has_the_number_of_the_last_change(database_client: AsyncClient) -> None:
    client = database_client
    assert (await client.get("/users/")).headers["Roster-Seq"] == "0"
    assert (await client.get("/users/", headers=NDJSON)).headers["Roster-Seq"] == "0"
    await client.post("/users/", json={"name": "Alice"})

    for accept in ("application/json", "application/x-ndjson", "text/csv"):
        for ask in (client.get, client.head):
            assert (await ask("/users/", headers={"accept": accept})).headers["Roster-Seq"] == "1"
    assert (await client.get("/users/?email=nobody")).headers["Roster-Seq"] == "1"


async def test_a_reader_can_begin_at_the_end(database_client: AsyncClient) -> None:
    await database_client.post("/users/", json={"name": "Alice"})
    now = await database_client.get("/changes/?since=now")
    assert (now.status_code, now.json(), now.headers["Roster-Seq"]) == (200, [], "1")
    await database_client.post("/users/", json={"name": "Bob"})
    [change] = (await database_client.get(now.headers["Link"][1 : now.headers["Link"].index(">")])).json()
    assert change["entity_id"] == 2


async def test_a_number_beyond_the_last_change_is_refused(database_client: AsyncClient) -> None:
    await database_client.post("/users/", json={"name": "Alice"})
    beyond: dict[str, Any] = {"since": 2}
    for path, asked in (
        ("/changes/", beyond),
        ("/changes/", {**beyond, "wait": 30}),
        ("/changes/", {**beyond, "filter": 'kind eq "user"'}),
        ("/users/1/changes/", beyond),
    ):
        refused = await database_client.get(path, params=asked)
        assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
        assert "the last one is 1" in refused.json()["detail"]
    assert (await database_client.get("/changes/?since=1")).status_code == 200


async def test_deleted_users_are_listed_on_request(database_client: AsyncClient) -> None:
    client = database_client
    for name in ("Alice", "Bob", "Carol", "Dan"):
        await client.post("/users/", json={"name": name})
    await client.delete("/users/2")
    await client.delete("/users/4")

    async def ids(**asked: Any) -> list[int]:
        return [user["id"] for user in (await client.get("/users/", params=asked)).json()]

    assert await ids() == await ids(deleted="false") == [1, 3]
    assert await ids(deleted="true") == [2, 4]
    assert await ids(deleted="any") == [1, 2, 3, 4]
    assert await ids(deleted="any", sort="-name", limit=3) == [4, 3, 2]
    assert await ids(deleted="true", filter='name eq "dan"') == [4]
    assert await ids(deleted="any", filter="id eq 2") == [2]
    counted = await client.get("/users/?deleted=true&count=true&limit=1")
    assert counted.headers["X-Total-Count"] == "2"
    rest = await client.get(counted.headers["Link"][1 : counted.headers["Link"].index(">")])
    assert [user["id"] for user in rest.json()] == [4]
    foreign = counted.headers["Link"].replace("deleted=true", "deleted=any")
    assert (await client.get(foreign[1 : foreign.index(">")])).status_code == 400
    assert (await client.get("/users/?deleted=perhaps")).json()["errors"][0]["pointer"] == "/query/deleted"

"""Groups and their members over HTTP, on both databases."""

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient, Response

from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    """A client of a directory with three users."""
    for name in ("Alice", "Bob", "Carol"):
        await database_client.post("/users/", json={"name": name})
    return database_client


async def create(client: AsyncClient, name: str, **profile: Any) -> Response:
    made = await client.post("/groups/", json={"name": name, **profile})
    assert made.status_code == 201, made.text
    return made


async def members(client: AsyncClient, group: int = 1) -> Any:
    return (await client.get(f"/groups/{group}/members/")).json()


async def kinds(client: AsyncClient, path: str) -> list[tuple[str, str]]:
    return [(each["kind"], each["action"]) for each in (await client.get(path)).json()]


async def test_a_group_is_created_and_listed(client: AsyncClient) -> None:
    made = await create(client, "Engineers")
    assert made.json() == {"id": 1, "name": "Engineers"}
    assert (made.headers["Location"], made.headers["ETag"], made.headers["Roster-Seq"]) == ("/groups/1", '"1"', "4")
    assert (await client.get("/groups/")).json() == (await client.get("/groups")).json() == [made.json()]

    full: Any = {"name": "Others", "external_id": "o", "description": "All else", "attributes": {"a": 1}}
    assert (await create(client, **full)).json() == {"id": 2, **full}
    every = (await client.get("/groups/1?fields=*")).json()
    assert every.keys() == {
        "id", "name", "external_id", "description", "attributes", "created_at", "updated_at", "deleted_at", "version"
    }  # fmt: skip
    assert (await client.get("/groups/by/name/engineers")).json() == made.json()
    assert (await client.get("/groups/by/external-id/o?fields=id")).json() == {"id": 2}
    assert (await client.get("/groups/?name=OTHERS&fields=id")).json() == [{"id": 2}]
    assert (await client.get('/groups/?filter=description co "All"&fields=id&count=true')).headers[
        "X-Total-Count"
    ] == "1"
    assert (await client.get("/groups/?sort=-name&fields=id")).json() == [{"id": 2}, {"id": 1}]
    first = await client.get("/groups/?limit=1")
    assert first.json() == [made.json()]
    assert 'rel="next"' in first.headers["Link"]
    lines = await client.get("/groups/", headers={"accept": "application/x-ndjson"})
    assert lines.text.splitlines()[0] == '{"id":1,"name":"Engineers"}'
    table = await client.get("/groups/?fields=id,name", headers={"accept": "text/csv"})
    assert table.text == "id,name\r\n1,Engineers\r\n2,Others\r\n"


async def test_a_name_of_another_group_is_a_409_with_its_pointer(client: AsyncClient) -> None:
    await create(client, "Straße")
    taken = await client.post("/groups/", json={"name": " STRASSE "})
    assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (409, "/body/name")
    unknown = await client.post("/groups/", json={"name": "x", "members": [1]})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/body/members")


async def test_a_conflict_names_the_other_group_to_readers_of_groups(directory: "Directory") -> None:
    for scope, shown in ((Scope.USERS_READ, [None]), (Scope.GROUPS_READ, [1])):
        _, secret = await directory.key(Scope.GROUPS_WRITE, scope)
        await directory.ask("POST", "/groups/", key=secret, json={"name": "Engineers"})
        taken = await directory.ask("POST", "/groups/", key=secret, json={"name": "Engineers"})
        assert [error.get("id") for error in taken.json()["errors"]] == shown


async def test_a_group_is_changed_only_at_the_expected_version(client: AsyncClient) -> None:
    await create(client, "Engineers", description="x")
    patched = await client.patch("/groups/1", json={"description": None}, headers={"if-match": '"1"'})
    assert (patched.status_code, patched.json(), patched.headers["ETag"]) == (
        200,
        {"id": 1, "name": "Engineers"},
        '"2"',
    )
    assert (await client.patch("/groups/1", json={"name": "Late"}, headers={"if-match": '"1"'})).status_code == 412
    assert (await client.get("/groups/1", headers={"if-none-match": '"2"'})).status_code == 304
    put = await client.put("/groups/by/external-id/e", json={"name": "Makers"})
    assert (put.status_code, put.headers["Location"], put.json()["external_id"]) == (201, "/groups/2", "e")
    again = await client.put("/groups/by/external-id/e", json={"name": "Makers", "description": "x"})
    assert (again.status_code, again.headers["ETag"]) == (200, '"2"')
    only_new = await client.put("/groups/by/external-id/e", json={"name": "M"}, headers={"if-none-match": "*"})
    assert only_new.status_code == 412
    other = await client.put("/groups/by/external-id/e", json={"name": "M", "external_id": "f"})
    assert other.status_code == 422


async def test_a_deleted_group_is_a_410_and_is_restored_with_its_members(client: AsyncClient) -> None:
    await create(client, "Engineers")
    await client.put("/groups/1/members/2")
    assert (await client.delete("/groups/1", headers={"if-match": '"7"'})).status_code == 412
    assert (await client.delete("/groups/1")).status_code == 204
    for gone in ("", "/members/", "/members/2"):
        assert (await client.get(f"/groups/1{gone}")).status_code == 410, gone
    assert (await client.put("/groups/1/members/1")).status_code == 410
    assert (await client.get("/users/2/groups/")).json() == []
    assert (await client.post("/groups/1/restore")).json() == {"id": 1, "name": "Engineers"}
    assert await members(client) == [{"group_id": 1, "user_id": 2}]
    assert (await client.delete("/groups/1?purge=true")).status_code == 204
    assert (await client.get("/groups/1")).status_code == 404
    assert await kinds(client, "/groups/1/changes/") == [
        ("group", "created"), ("membership", "created"), ("group", "deleted"), ("group", "restored"),
        ("membership", "ended"), ("group", "purged"),
    ]  # fmt: skip
    assert (await client.get("/groups/2/changes/")).status_code == 404


async def test_a_member_is_put_shown_and_removed(client: AsyncClient) -> None:
    await create(client, "Engineers")
    put = await client.put("/groups/1/members/2", json={"role": "lead"})
    assert (put.status_code, put.content, put.headers["Roster-Seq"]) == (204, b"", "5")
    again = await client.put("/groups/1/members/2")
    assert (again.status_code, "Roster-Seq" in again.headers) == (204, False)

    shown = await client.get("/groups/1/members/2")
    assert (shown.json(), shown.headers["ETag"]) == ({"group_id": 1, "user_id": 2, "role": "lead"}, '"1"')
    assert (await client.get("/groups/1/members/2", headers={"if-none-match": '"1"'})).status_code == 304
    assert (await client.get("/groups/1/members/2?fields=*")).json().keys() == {
        "group_id", "user_id", "role", "via", "id", "created_at", "updated_at", "version"
    }  # fmt: skip
    await client.put("/groups/1/members/2", json={"role": None})
    assert (await client.get("/groups/1/members/2")).json() == {"group_id": 1, "user_id": 2}
    assert (await client.get("/groups/1")).headers["ETag"] == '"1"'

    assert (await client.get("/groups/1/members/1")).status_code == 404
    for missing in ("/groups/9/members/1", "/groups/1/members/9"):
        assert (await client.put(missing)).status_code == 404, missing
    assert (await client.put("/groups/1/members/1", json={"role": ""})).json()["errors"][0]["pointer"] == "/body/role"
    assert (await client.put("/groups/1/members/1", json={"rôle": "x"})).status_code == 422
    assert (await client.put("/groups/1/members/1", content=b"{")).status_code == 415
    for _ in range(2):
        assert (await client.delete("/groups/1/members/2")).status_code == 204
    assert await members(client) == []
    assert await kinds(client, "/users/2/changes/") == [
        ("user", "created"), ("membership", "created"), ("membership", "updated"), ("membership", "ended")
    ]  # fmt: skip


async def test_members_are_listed_in_pages_filtered_counted_and_streamed(client: AsyncClient) -> None:
    await create(client, "Engineers")
    await client.post("/groups/1/members/", json={"add": [3, 1], "role": "lead"})
    await client.put("/groups/1/members/2")

    first = await client.get("/groups/1/members/?limit=2&count=true&fields=user_id")
    assert (first.json(), first.headers["X-Total-Count"]) == ([{"user_id": 1}, {"user_id": 2}], "3")
    rest = await client.get(first.links["next"]["url"])
    assert rest.json() == [{"user_id": 3}]
    assert (await client.get("/groups/1/members/?role=lead&fields=user_id")).json() == [{"user_id": 1}, {"user_id": 3}]
    assert (await client.get("/groups/1/members/?filter=user_id gt 1&role=lead&fields=user_id")).json() == [
        {"user_id": 3}
    ]
    lines = await client.get("/groups/1/members/", headers={"accept": "application/x-ndjson"})
    assert lines.text.splitlines()[1] == '{"group_id":1,"user_id":2}'
    assert (await client.get("/groups/9/members/")).status_code == 404
    assert (await client.get("/groups/9/members/", headers={"accept": "text/csv"})).status_code == 404
    assert (await client.get("/groups/1/members/?sort=role")).status_code == 422
    assert (await client.get('/users/?filter=groups eq 1 and name sw "b"&fields=id')).json() == [{"id": 2}]
    assert (await client.get("/groups/?filter=members eq 2&fields=id")).json() == [{"id": 1}]


async def test_many_members_change_at_once_or_none(client: AsyncClient) -> None:
    await create(client, "Engineers")
    done = await client.post("/groups/1/members/", json={"add": [1, 2.0]})
    assert (done.status_code, done.json()) == (200, {"added": 2, "changed": 0, "removed": 0})
    done = await client.post("/groups/1/members/", json={"add": [3, 2], "remove": [1, 9], "role": "lead"})
    assert (done.json(), done.headers["Roster-Seq"]) == ({"added": 1, "changed": 1, "removed": 1}, "9")
    kept = [{"group_id": 1, "user_id": 2, "role": "lead"}, {"group_id": 1, "user_id": 3, "role": "lead"}]
    assert await members(client) == kept

    for body, pointers in (
        ({"add": [1, 7, 2, 9]}, ["/body/add/1", "/body/add/3"]), ({"add": [1], "remove": [2, 1]}, ["/body/remove/1"]),
        ({"add": [1, 2, 1]}, ["/body/add/2"]), ({"add": ["1"]}, ["/body/add/0"]), ({"add": [0]}, ["/body/add/0"]),
        ({"remove": [2**53]}, ["/body/remove/0"]), ({"add": [1], "role": " "}, ["/body/role"]),
        ({"add": [], "role": " "}, ["/body/role"]),
    ):  # fmt: skip
        refused = await client.post("/groups/1/members/", json=body)
        assert (refused.status_code, [each["pointer"] for each in refused.json()["errors"]]) == (422, pointers), body
    assert await members(client) == kept
    assert (await client.post("/groups/9/members/", json={"add": [1]})).status_code == 404
    tried = await client.post("/groups/1/members/?dry_run=true", json={"remove": [2, 3]})
    assert (tried.json()["removed"], tried.headers["Dry-Run"]) == (2, "true")
    assert await members(client) == kept


async def test_a_repeated_change_of_many_members_is_carried_out_once(client: AsyncClient) -> None:
    await create(client, "Engineers")
    key = {"idempotency-key": "members-of-engineers"}
    first = await client.post("/groups/1/members/", json={"add": [1, 2]}, headers=key)
    await client.delete("/groups/1/members/1")
    again = await client.post("/groups/1/members/", json={"add": [1, 2]}, headers=key)
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert await members(client) == [{"group_id": 1, "user_id": 2}]


async def test_the_groups_of_a_user_are_listed(client: AsyncClient) -> None:
    for name in ("b", "a", "c"):
        await create(client, name)
    for group in (1, 2):
        await client.put(f"/groups/{group}/members/1")
    assert (await client.get("/users/1/groups/")).json() == [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]
    first = await client.get("/users/1/groups/?sort=name&limit=1&fields=id")
    assert first.json() == [{"id": 2}]
    assert (await client.get(first.links["next"]["url"])).json() == [{"id": 1}]
    assert (await client.get('/users/1/groups/?filter=name eq "A"&fields=id')).json() == [{"id": 2}]
    assert (await client.get("/users/9/groups/")).status_code == 404
    await client.delete("/users/1")
    assert (await client.get("/users/1/groups/")).status_code == 410
    assert await members(client) == []
    await client.post("/users/1/restore")
    assert len((await client.get("/users/1/groups/")).json()) == 2
    await client.delete("/users/1?purge=true")
    assert (await client.get("/users/1/groups/")).status_code == 404
    shown = [each for each in (await client.get("/users/1/changes/")).json() if each["kind"] == "membership"]
    assert {(each["before"], each["after"]) for each in shown} == {(None, None)}


async def test_a_group_can_be_nested_in_another_one(client: AsyncClient) -> None:
    for name in ("Company", "Engineers", "Testers"):
        await create(client, name)
    put = await client.put("/groups/1/groups/2")
    assert (put.status_code, put.content, put.headers["Roster-Seq"]) == (204, b"", "7")
    assert "Roster-Seq" not in (await client.put("/groups/1/groups/2")).headers
    await client.put("/groups/2/groups/3")
    assert (await client.get("/groups/1/groups/")).json() == [{"id": 2, "name": "Engineers"}]
    for cycle in ("/groups/3/groups/1", "/groups/1/groups/1"):
        refused = await client.put(cycle)
        assert (refused.status_code, refused.json()["code"]) == (409, "cycle")
    assert (await client.put("/groups/1/groups/9")).status_code == 404
    await client.put("/groups/1/groups/3")
    first = await client.get("/groups/1/groups/?limit=1&fields=id")
    assert first.json() == [{"id": 2}]
    assert (await client.get(first.links["next"]["url"])).json() == [{"id": 3}]
    assert (await client.get("/groups/9/groups/")).status_code == 404
    for _ in range(2):
        assert (await client.delete("/groups/1/groups/2")).status_code == 204
    assert (await client.get("/groups/1/groups/?fields=id")).json() == [{"id": 3}]
    assert await kinds(client, "/groups/3/changes/") == [
        ("group", "created"), ("nesting", "created"), ("nesting", "created")
    ]  # fmt: skip
    assert (await client.put("/groups/1/groups/2?dry_run=true")).headers["Dry-Run"] == "true"
    assert (await client.get("/groups/1/groups/?fields=id")).json() == [{"id": 3}]


async def test_members_and_groups_of_nested_groups_show_the_groups_between(client: AsyncClient) -> None:
    for name in ("Company", "Engineers", "Testers"):
        await create(client, name)
    for nesting in ("1/groups/2", "1/groups/3"):
        await client.put(f"/groups/{nesting}")
    await client.post("/groups/1/members/", json={"add": [2], "role": "boss"})
    await client.post("/groups/2/members/", json={"add": [1, 2], "role": "lead"})
    await client.post("/groups/3/members/", json={"add": [1, 3]})

    path = "/groups/1/members/?recursive=true"
    assert (await client.get(path)).json() == [
        {"group_id": 1, "user_id": 1, "via": [2, 3]},
        {"group_id": 1, "user_id": 2, "role": "boss", "via": [1, 2]},
        {"group_id": 1, "user_id": 3, "via": [3]},
    ]
    assert (await members(client)) == [{"group_id": 1, "user_id": 2, "role": "boss"}]
    first = await client.get(f"{path}&limit=2&fields=user_id")
    assert first.json() == [{"user_id": 1}, {"user_id": 2}]
    assert (await client.get(first.links["next"]["url"])).json() == [{"user_id": 3}]
    assert (await client.get(f"{path}&fields=user_id,via,version&limit=1")).json() == [
        {"user_id": 1, "via": [2, 3], "version": None}
    ]
    assert (await client.get("/groups/1/members/2?fields=via")).json() == {"via": [1]}
    table = await client.get(f"{path}&fields=user_id,via", headers={"accept": "text/csv"})
    assert table.text == 'user_id,via\r\n1,"[2,3]"\r\n2,"[1,2]"\r\n3,[3]\r\n'
    lines = await client.get(path, headers={"accept": "application/x-ndjson"})
    assert lines.text.splitlines()[2] == '{"group_id":1,"user_id":3,"via":[3]}'
    for wrong in ("filter=user_id eq 1", "role=lead", "count=true"):
        assert (await client.get(f"{path}&{wrong}")).status_code == 422, wrong
    assert (await client.get("/groups/9/members/?recursive=true")).status_code == 404

    assert (await client.get("/users/1/groups/?recursive=true&fields=id")).json() == [
        {"id": 1, "via": [2, 3]}, {"id": 2, "via": [2]}, {"id": 3, "via": [3]}
    ]  # fmt: skip
    first = await client.get("/users/1/groups/?recursive=true&limit=1")
    assert first.json() == [{"id": 1, "name": "Company", "via": [2, 3]}]
    assert [each["id"] for each in (await client.get(first.links["next"]["url"])).json()] == [2]
    assert (await client.get("/users/1/groups/?recursive=true&sort=name")).status_code == 422
    assert [each["id"] for each in (await client.get("/users/1/groups/")).json()] == [2, 3]


async def test_groups_need_their_own_scopes(directory: "Directory") -> None:
    _, users = await directory.key(Scope.USERS_READ, Scope.USERS_WRITE)
    _, reader = await directory.key(Scope.GROUPS_READ)
    _, writer = await directory.key(Scope.GROUPS_READ, Scope.GROUPS_WRITE)
    await directory.ask("POST", "/users/", key=users, json={"name": "Alice"})
    assert (await directory.ask("POST", "/groups/", key=writer, json={"name": "Engineers"})).status_code == 201
    assert (await directory.ask("PUT", "/groups/1/members/1", key=writer)).status_code == 204
    assert (await directory.ask("GET", "/groups/1/members/", key=reader)).status_code == 200
    assert (await directory.ask("GET", "/groups/", key=users)).status_code == 403
    assert (await directory.ask("PUT", "/groups/1/members/1", key=reader)).status_code == 403
    refused = await directory.ask("DELETE", "/groups/1?purge=true", key=writer)
    assert (refused.status_code, refused.json()["detail"]) == (403, f"This needs the scope {Scope.USERS_PURGE}.")

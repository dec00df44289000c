"""A provisioning cycle as Okta's documentation of its SCIM 2.0 client describes it: the requests, in their order."""

from typing import Any

from tests.scim.conftest import GROUP, MESSAGE, USER, Scim

PROFILE: dict[str, Any] = {
    "schemas": [USER],
    "userName": "test.user@okta.local",
    "name": {"givenName": "Test", "familyName": "User"},
    "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
    "displayName": "Test User",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}
PATCH = [f"{MESSAGE}PatchOp"]


async def create(scim: Scim) -> str:
    answer = await scim.ask("POST", "/Users", PROFILE)
    assert answer.status_code == 201
    id: str = answer.json()["id"]
    return id


async def test_the_connection_is_tested(everywhere: Scim) -> None:
    for path, count in (("/Users", 2), ("/Groups", 100)):
        found = await everywhere.get(f"{path}?startIndex=1&count={count}")
        assert (found["totalResults"], found["startIndex"], found["itemsPerPage"]) == (0, 1, 0)
        assert found["Resources"] == []


async def test_a_user_is_looked_up_and_created(everywhere: Scim) -> None:
    lookup = {"filter": 'userName eq "test.user@okta.local"', "startIndex": 1, "count": 100}
    assert (await everywhere.get("/Users", **lookup))["totalResults"] == 0
    id = await create(everywhere)
    (found,) = (await everywhere.get("/Users", **lookup))["Resources"]
    assert found["id"] == id
    assert found["active"] is True
    assert "password" not in found
    assert (await everywhere.ask("POST", "/Users", PROFILE)).status_code == 409


async def test_a_user_is_read_and_replaced_by_put(everywhere: Scim) -> None:
    id = await create(everywhere)
    read = await everywhere.get(f"/Users/{id}")
    read["name"]["familyName"] = "Changed"
    read["title"] = "Engineer"
    put = await everywhere.ask("PUT", f"/Users/{id}", {**read, "groups": []})
    assert put.status_code == 200
    assert (put.json()["name"]["familyName"], put.json()["title"]) == ("Changed", "Engineer")
    assert put.json()["externalId"] == PROFILE["externalId"]


async def test_a_user_is_deactivated_and_reactivated_without_a_path(everywhere: Scim) -> None:
    id = await create(everywhere)
    for active, status in ((False, "suspended"), (True, "active")):
        body = {"schemas": PATCH, "Operations": [{"op": "replace", "value": {"active": active}}]}
        answer = await everywhere.ask("PATCH", f"/Users/{id}", body)
        assert (answer.status_code, answer.json()["active"]) == (200, active)
        shown = (await everywhere.http.get(f"/users/{id}?fields=status")).json()
        assert shown == {"status": status}
        lookup = await everywhere.get("/Users", filter='userName eq "test.user@okta.local"', startIndex=1, count=100)
        assert lookup["totalResults"] == 1


async def test_a_user_who_was_deactivated_is_created_again(everywhere: Scim) -> None:
    id = await create(everywhere)
    body = {"schemas": PATCH, "Operations": [{"op": "replace", "value": {"active": False}}]}
    await everywhere.ask("PATCH", f"/Users/{id}", body)
    assert await create(everywhere) == id
    assert (await everywhere.get(f"/Users/{id}"))["active"] is True


async def test_groups_are_pushed(everywhere: Scim) -> None:
    ids = []
    for number in range(3):
        created = await everywhere.ask("POST", "/Users", {"schemas": [USER], "userName": f"u{number}", "groups": []})
        ids.append(created.json()["id"])
    lookup = {"filter": 'displayName eq "Test SCIMv2"', "startIndex": 1, "count": 100}
    assert (await everywhere.get("/Groups", **lookup))["totalResults"] == 0
    named = [{"value": ids[0], "display": "u0"}]
    created = await everywhere.ask(
        "POST", "/Groups", {"schemas": [GROUP], "displayName": "Test SCIMv2", "members": named}
    )
    assert created.status_code == 201
    path = f"/Groups/{created.json()['id']}"

    rename = {"op": "replace", "value": {"id": created.json()["id"], "displayName": "Renamed"}}
    assert (await everywhere.ask("PATCH", path, {"schemas": PATCH, "Operations": [rename]})).status_code == 204
    membership = [
        {"op": "remove", "path": f'members[value eq "{ids[0]}"]'},
        {"op": "add", "path": "members", "value": [{"value": id, "display": "u"} for id in ids[1:]]},
    ]
    assert (await everywhere.ask("PATCH", path, {"schemas": PATCH, "Operations": membership})).status_code == 204
    read = await everywhere.get(path)
    assert read["displayName"] == "Renamed"
    assert [each["value"] for each in read["members"]] == ids[1:]

    put = {"schemas": [GROUP], "id": read["id"], "displayName": "Renamed", "members": [{"value": ids[0]}]}
    assert (await everywhere.ask("PUT", path, put)).status_code == 200
    assert [each["value"] for each in (await everywhere.get(path))["members"]] == [ids[0]]
    assert (await everywhere.ask("DELETE", path)).status_code == 204


async def test_users_are_imported_in_pages_of_a_stable_order(everywhere: Scim) -> None:
    for number in range(7):
        await everywhere.create(userName=f"u{number}")
    found: list[str] = []
    start = 1
    while True:
        page = await everywhere.get(f"/Users?startIndex={start}&count=3")
        assert page["totalResults"] == 7
        if not page["Resources"]:
            break
        found += [each["userName"] for each in page["Resources"]]
        start += page["itemsPerPage"]
    assert found == [f"u{number}" for number in range(7)]

"""A provisioning cycle as the documentation of Microsoft Entra describes its SCIM client, and its validator tests."""

from typing import Any

import pytest
from tests.scim.conftest import ENTERPRISE, GROUP, MESSAGE, USER, Scim

ADSCIM = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"
PATCH = [f"{MESSAGE}PatchOp"]
PROFILE: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "Test_User_ab6490ee",
    "active": True,
    "emails": [{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
    "roles": [],
}


async def created(scim: Scim) -> str:
    answer = await scim.ask("POST", "/Users", PROFILE)
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


async def patched(scim: Scim, path: str, *operations: dict[str, Any]) -> Any:
    answer = await scim.ask("PATCH", path, {"schemas": PATCH, "Operations": list(operations)})
    assert answer.status_code in {200, 204}, answer.text
    return await scim.get(path)


async def test_the_test_of_the_connection_searches_a_name_that_nobody_has(everywhere: Scim) -> None:
    found = await everywhere.get("/Users", filter='userName eq "7b3a1a3e-2b0f-4b0b-9d1a-8d6f0a5b2c11"')
    assert (found["totalResults"], found["Resources"]) == (0, [])


@pytest.mark.parametrize(
    "filter",
    ['userName eq "test_user_AB6490ee"', 'externalId eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"',
     'emails[type eq "work"].value eq "Test_User_fd0ea19b@testuser.com"',
     'emails[type eq "work"] and userName sw "Test"'],
)  # fmt: skip
async def test_a_user_is_created_and_found_by_its_matching_attribute(everywhere: Scim, filter: str) -> None:
    id = await created(everywhere)
    assert [each["id"] for each in (await everywhere.get("/Users", filter=filter))["Resources"]] == [id]


async def test_a_user_is_updated_by_one_operation_for_each_attribute(everywhere: Scim) -> None:
    id = await created(everywhere)
    after = await patched(
        everywhere,
        f"/Users/{id}",
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.com"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "555"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Sales"},
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "7"},
        {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "Reader"},
    )
    assert after["emails"] == [{"value": "updatedEmail@microsoft.com", "type": "work", "primary": True}]
    assert after["name"]["familyName"] == "updatedFamilyName"
    assert after["phoneNumbers"] == [{"value": "555", "type": "mobile"}]
    assert after[ENTERPRISE] == {"department": "Sales", "manager": {"value": "7"}}
    assert after["roles"] == [{"value": "Reader", "primary": True}]
    assert (await everywhere.http.get(f"/users/{id}")).json()["email"] == "updatedEmail@microsoft.com"


async def test_a_user_is_updated_without_a_path_by_dotted_and_qualified_names(everywhere: Scim) -> None:
    id = await created(everywhere)
    value = {
        "displayName": "lv", "name.givenName": "Terry", f"{ENTERPRISE}:employeeNumber": 8, "userName": "changed",
        'emails[type eq "work"].value': "terry@microsoft.com", "nickName": None,
    }  # fmt: skip
    after = await patched(everywhere, f"/Users/{id}", {"op": "replace", "value": value})
    assert (after["displayName"], after["userName"], after["name"]["givenName"]) == ("lv", "changed", "Terry")
    assert after[ENTERPRISE] == {"employeeNumber": "8"}
    assert after["emails"][0]["value"] == "terry@microsoft.com"


async def test_a_user_is_disabled_still_found_enabled_and_deleted(everywhere: Scim) -> None:
    id = await created(everywhere)
    after = await patched(everywhere, f"/Users/{id}", {"op": "Replace", "path": "active", "value": "False"})
    assert after["active"] is False
    assert len(await everywhere.found('userName eq "Test_User_ab6490ee"')) == 1
    after = await patched(everywhere, f"/Users/{id}", {"op": "Replace", "path": "active", "value": "True"})
    assert after["active"] is True
    assert (await everywhere.ask("DELETE", f"/Users/{id}")).status_code == 204
    assert (await everywhere.ask("GET", f"/Users/{id}")).status_code == 404
    assert (await everywhere.ask("DELETE", f"/Users/{id}")).status_code == 404


async def test_a_manager_is_removed_and_an_attribute_too(everywhere: Scim) -> None:
    id = await created(everywhere)
    await patched(everywhere, f"/Users/{id}", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": {"value": "7"}})
    after = await patched(
        everywhere, f"/Users/{id}", {"op": "Remove", "path": f"{ENTERPRISE}:manager"}, {"op": "Remove", "path": "name"}
    )
    assert ENTERPRISE not in after
    assert "name" not in after


async def test_groups_are_created_read_without_members_and_changed(everywhere: Scim) -> None:
    user = await created(everywhere)
    body = {"schemas": [GROUP, ADSCIM], "externalId": "8aa1a0c0", "displayName": "displayName", "members": [],
            "meta": {"resourceType": "Group"}}  # fmt: skip
    answer = await everywhere.ask("POST", "/Groups", body)
    assert answer.status_code == 201
    id = answer.json()["id"]
    path = f"/Groups/{id}"
    assert (await everywhere.get(f"{path}?excludedAttributes=members"))["displayName"] == "displayName"
    found = await everywhere.get("/Groups", excludedAttributes="members", filter='displayName eq "displayName"')
    assert [each["id"] for each in found["Resources"]] == [id]

    after = await patched(everywhere, path, {"op": "Replace", "path": "displayName", "value": "updated"})
    assert after["displayName"] == "updated"
    added = [{"$ref": None, "value": user}]
    after = await patched(everywhere, path, {"op": "Add", "path": "members", "value": added})
    assert [each["value"] for each in after["members"]] == [user]
    filter = f'id eq "{id}" and members eq "{user}"'
    found = await everywhere.get("/Groups", excludedAttributes="members", filter=filter)
    assert [each["id"] for each in found["Resources"]] == [id]
    after = await patched(everywhere, path, {"op": "Remove", "path": "members", "value": added})
    assert "members" not in after
    assert await everywhere.found(filter, "/Groups", "id") == []
    assert (await everywhere.ask("DELETE", path)).status_code == 204


async def test_onelogin_may_send_a_list_with_one_value_as_an_object(scim: Scim) -> None:
    created = await scim.create(userName="o", emails={"value": "o@x.org", "primary": "true"})
    assert created["emails"] == [{"value": "o@x.org", "primary": True}]

"""/Groups (RFC 7643, section 4.2; RFC 7644, sections 3.3 to 3.6): members as rows of their own."""

import asyncio
from typing import Any

import pytest
from tests.scim.conftest import ADDRESS, ENTERPRISE, GROUP, Scim

from domain.keys import Scope


async def directory(scim: Scim, users: int = 4) -> None:
    for number in range(1, users + 1):
        await scim.create(userName=f"u{number}")


def user(id: int) -> dict[str, str]:
    return {"value": str(id), "$ref": f"{ADDRESS}/Users/{id}", "type": "User"}


def group(id: int) -> dict[str, str]:
    return {"value": str(id), "$ref": f"{ADDRESS}/Groups/{id}", "type": "Group"}


async def members(scim: Scim, id: int = 1) -> list[str]:
    return [f"{each['type'][0]}{each['value']}" for each in (await scim.get(f"/Groups/{id}")).get("members", [])]


async def changes(scim: Scim) -> int:
    return len((await scim.http.get("/changes/?limit=1000")).json())


async def test_3_3_a_group_is_created_with_its_members(everywhere: Scim) -> None:
    await directory(everywhere)
    body = {"schemas": [GROUP], "displayName": "Guides", "externalId": "x", "members": [user(2), {"value": "1"}]}
    answer = await everywhere.ask("POST", "/Groups", body)
    created = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == created["meta"]["location"] == f"{ADDRESS}/Groups/1"
    shown = await everywhere.ask("GET", "/Groups/1")
    assert shown.headers["content-location"] == shown.json()["meta"]["location"] == f"{ADDRESS}/Groups/1"
    assert answer.headers["etag"] == created["meta"]["version"]
    assert created["members"] == [user(1), user(2)]
    assert (created["displayName"], created["externalId"], created["id"]) == ("Guides", "x", "1")
    assert await everywhere.get("/Groups/1") == created
    assert (await everywhere.http.get("/groups/1")).json() == {"id": 1, "name": "Guides", "external_id": "x"}
    assert [each["user_id"] for each in (await everywhere.http.get("/groups/1/members/")).json()] == [1, 2]
    shown = await everywhere.get("/Users/1")
    assert shown["groups"] == [{"value": "1", "$ref": f"{ADDRESS}/Groups/1", "display": "Guides", "type": "direct"}]
    assert "groups" not in await everywhere.get("/Users/3")


async def test_a_group_can_be_a_member_of_a_group_and_a_cycle_is_refused(everywhere: Scim) -> None:
    await directory(everywhere, 1)
    await everywhere.create_group(displayName="inner", members=[user(1)])
    outer = await everywhere.create_group(displayName="outer", members=[{"value": "1", "type": "Group"}, user(1)])
    assert outer["members"] == [user(1), group(1)]
    await everywhere.refused(
        409, None, "PATCH", "/Groups/1",
        {"Operations": [{"op": "add", "path": "members", "value": [{"$ref": "../Groups/2"}]}]},
    )  # fmt: skip
    await everywhere.patch("/Groups/2", {"op": "remove", "path": 'members[value eq "1" and type eq "Group"]'})
    assert await members(everywhere, 2) == ["U1"]


PATCHES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "add one": ([{"op": "add", "path": "members", "value": [{"value": "3"}]}], ["U1", "U2", "U3"]),
    "add one object": ([{"op": "Add", "path": "members", "value": {"value": "3"}}], ["U1", "U2", "U3"]),
    "add without a path": ([{"op": "add", "value": {"members": [{"value": "3"}]}}], ["U1", "U2", "U3"]),
    "add one who is there": ([{"op": "add", "path": "members", "value": [{"value": "2"}]}], ["U1", "U2"]),
    "remove by a filter": ([{"op": "remove", "path": 'members[value eq "2"]'}], ["U1"]),
    "remove by a filter of several": ([{"op": "remove", "path": 'members[value eq "2" or value eq "1"]'}], []),
    "remove one who is not there": ([{"op": "remove", "path": 'members[value eq "4"]'}], ["U1", "U2"]),
    "remove what no id is": ([{"op": "remove", "path": 'members[value eq "x"]'}], ["U1", "U2"]),
    "remove by a type": ([{"op": "remove", "path": 'members[type eq "user"]'}], []),
    "remove by another type": ([{"op": "remove", "path": 'members[type eq "Group"]'}], ["U1", "U2"]),
    "remove all but one": ([{"op": "remove", "path": 'members[not (value eq "2")]'}], ["U2"]),
    "remove by the start of an id": ([{"op": "remove", "path": 'members[value sw "2"]'}], ["U1"]),
    "remove by an address": (
        [{"op": "remove", "path": 'members[$ref eq "https://people.example.org/scim/v2/Users/2"]'}], ["U1"],
    ),
    "remove by the end of an address": ([{"op": "remove", "path": 'members[$ref ew "/Users/2"]'}], ["U1"]),
    "remove by another address": ([{"op": "remove", "path": 'members[$ref eq "../Groups/2"]'}], ["U1", "U2"]),
    "remove by all parts": (
        [{"op": "remove", "path": 'members[value eq "2" and type eq "User" and $ref co "/Users/"]'}], ["U1"],
    ),
    "add and remove all": (
        [{"op": "add", "path": "members", "value": [user(3)]}, {"op": "remove", "path": "members[value pr]"}], [],
    ),
    "remove all by a filter and add": (
        [{"op": "remove", "path": "members[value pr]"}, {"op": "add", "path": "members", "value": [user(2), user(3)]}],
        ["U2", "U3"],
    ),
    "replace and remove by a type": (
        [{"op": "replace", "path": "members", "value": [user(3)]},
         {"op": "remove", "path": 'members[type eq "User"]'}], [],
    ),
    "remove those of a list": ([{"op": "Remove", "path": "members", "value": [{"value": "1"}]}], ["U2"]),
    "remove all": ([{"op": "remove", "path": "members"}], []),
    "replace all": ([{"op": "replace", "path": "members", "value": [{"value": "3"}, {"value": "1"}]}], ["U1", "U3"]),
    "replace by none": ([{"op": "replace", "path": "members", "value": []}], []),
    "remove and add": (
        [{"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": [{"value": "4"}]}], ["U4"],
    ),
    "add and remove the same": (
        [{"op": "add", "path": "members", "value": [{"value": "4"}]},
         {"op": "remove", "path": 'members[value eq "4"]'}], ["U1", "U2"],
    ),
    "replace and remove one of them": (
        [{"op": "replace", "path": "members", "value": [{"value": "3"}, {"value": "4"}]},
         {"op": "remove", "path": 'members[value eq "4"]'}], ["U3"],
    ),
    "a group push of Okta's": (
        [{"op": "replace", "value": {"id": "1", "displayName": "Renamed"}},
         {"op": "remove", "path": 'members[value eq "1"]'},
         {"op": "add", "path": "members", "value": [{"value": "3", "display": "u3"}, {"value": "4"}]}],
        ["U2", "U3", "U4"],
    ),
}  # fmt: skip


async def test_3_5_2_a_patch_changes_who_is_in_the_group(everywhere: Scim) -> None:
    await directory(everywhere)
    for number, (case, (operations, expected)) in enumerate(PATCHES.items(), 1):
        before = await everywhere.create_group(displayName=f"g{number}", members=[user(1), user(2)])
        answer = await everywhere.patch(f"/Groups/{number}", *operations)
        assert (answer.status_code, answer.content) == (204, b""), case
        assert await members(everywhere, number) == expected, case
        after = await everywhere.get(f"/Groups/{number}")
        assert answer.headers["etag"] == after["meta"]["version"]
        is_same = expected == ["U1", "U2"]
        assert (after["meta"] == before["meta"]) is is_same, case


async def test_a_member_that_is_added_is_one_row_and_one_change(everywhere: Scim) -> None:
    await directory(everywhere)
    await everywhere.create_group(displayName="g", members=[user(1), user(2)])
    before = await changes(everywhere)
    await everywhere.patch("/Groups/1", {"op": "add", "path": "members", "value": [user(3), user(1)]})
    (added,) = (await everywhere.http.get(f"/changes/?since={before}")).json()
    assert (added["kind"], added["action"]) == ("membership", "created")
    assert (await everywhere.http.get("/groups/1?fields=version")).json() == {"version": 1}


async def test_replacing_all_members_writes_only_the_difference(everywhere: Scim) -> None:
    await directory(everywhere)
    await everywhere.create_group(displayName="g", members=[user(1), user(2)])
    before = await changes(everywhere)
    await everywhere.ask("PUT", "/Groups/1", {"displayName": "g", "members": [user(2), user(3)]})
    written = (await everywhere.http.get(f"/changes/?since={before}")).json()
    assert sorted((each["kind"], each["action"]) for each in written) == [
        ("membership", "created"), ("membership", "ended"),
    ]  # fmt: skip
    await everywhere.ask("PUT", "/Groups/1", {"displayName": "g", "members": [user(3), user(2)]})
    assert await changes(everywhere) == before + 2


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "one who does not exist": ("invalidValue", {"op": "add", "path": "members", "value": [{"value": "99"}]}),
    "what no id is": ("invalidValue", {"op": "add", "path": "members", "value": [{"value": "x"}]}),
    "no id": ("invalidValue", {"op": "add", "path": "members", "value": [{"type": "User"}]}),
    "an unknown attribute": ("invalidPath", {"op": "add", "path": "foo", "value": "x"}),
    "the name removed": ("mutability", {"op": "remove", "path": "displayName"}),
    "another value": ("mutability", {"op": "replace", "path": 'members[value eq "1"].value', "value": "2"}),
    "another member": ("mutability", {"op": "replace", "path": 'members[value eq "1"]', "value": {"value": "2"}}),
    "a part of all": ("mutability", {"op": "replace", "path": "members.value", "value": "2"}),
    "a filter on an unknown part": ("invalidPath", {"op": "remove", "path": 'members[display eq "x"]'}),
    "a malformed filter": ("invalidFilter", {"op": "remove", "path": "members[value is 1]"}),
}


async def test_3_5_2_a_refused_patch_changes_nothing(everywhere: Scim) -> None:
    await directory(everywhere)
    before = await everywhere.create_group(displayName="g", members=[user(1), user(2)])
    rename = {"op": "replace", "path": "displayName", "value": "other"}
    for case, (scim_type, operation) in REFUSED.items():
        answer = await everywhere.patch("/Groups/1", rename, operation)
        assert (answer.status_code, answer.json()["scimType"]) == (400, scim_type), (case, answer.text)
        assert await everywhere.get("/Groups/1") == before


async def test_a_patch_returns_the_group_if_attributes_are_requested(scim: Scim) -> None:
    await directory(scim)
    await scim.create_group(displayName="g", members=[user(1)])
    operation = {"op": "add", "path": "members", "value": [user(2)]}
    answer = await scim.patch("/Groups/1?attributes=displayName", operation)
    assert (answer.status_code, answer.json().keys()) == (200, {"schemas", "id", "displayName"})


async def test_3_5_1_a_put_replaces_the_group_and_its_members(everywhere: Scim) -> None:
    await directory(everywhere)
    await everywhere.create_group(displayName="g", externalId="x", members=[user(1), user(2)])
    after = (await everywhere.ask("PUT", "/Groups/1", {"displayName": "h", "members": [user(3)]})).json()
    assert (after["displayName"], after["members"]) == ("h", [user(3)])
    assert "externalId" not in after
    assert await members(everywhere) == ["U3"]


async def test_a_put_keeps_the_fields_of_groups_and_members_that_only_rest_has(everywhere: Scim) -> None:
    await directory(everywhere, 2)
    await everywhere.http.post("/groups/", json={"name": "g", "description": "d", "attributes": {"a": 1}})
    await everywhere.http.put("/groups/1/members/1", json={"role": "lead"})
    shown = await everywhere.get("/Groups/1")
    await everywhere.ask("PUT", "/Groups/1", {**shown, "displayName": "h", "members": [user(1), user(2)]})
    assert (await everywhere.http.get("/groups/1")).json() == {
        "id": 1, "name": "h", "description": "d", "attributes": {"a": 1},
    }  # fmt: skip
    assert (await everywhere.http.get("/groups/1/members/1")).json()["role"] == "lead"


async def test_3_6_a_deleted_group_is_not_found_and_its_name_is_free(everywhere: Scim) -> None:
    await directory(everywhere, 1)
    await everywhere.create_group(displayName="g", members=[user(1)])
    assert (await everywhere.ask("DELETE", "/Groups/1")).status_code == 204
    for method, body in (("GET", None), ("DELETE", None), ("PUT", {"displayName": "g"})):
        await everywhere.refused(404, None, method, "/Groups/1", body)
    assert "groups" not in await everywhere.get("/Users/1")
    assert (await everywhere.create_group(displayName="g"))["id"] == "2"


async def test_a_deleted_user_is_in_no_group(everywhere: Scim) -> None:
    await directory(everywhere, 2)
    before = await everywhere.create_group(displayName="g", members=[user(1), user(2)])
    await everywhere.ask("DELETE", "/Users/1")
    after = await everywhere.get("/Groups/1")
    assert after["members"] == [user(2)]
    assert after["meta"]["version"] != before["meta"]["version"]


async def test_3_14_the_version_of_a_group_changes_with_its_members(everywhere: Scim) -> None:
    await directory(everywhere)
    created = await everywhere.create_group(displayName="g")
    old = {"If-Match": created["meta"]["version"]}
    add = {"op": "add", "path": "members", "value": [user(1)]}
    assert (await everywhere.patch("/Groups/1", add, headers=old)).status_code == 204
    assert (await everywhere.patch("/Groups/1", add, headers=old)).status_code == 412
    for method, body in (("PUT", {"displayName": "h"}), ("DELETE", None)):
        await everywhere.refused(412, None, method, "/Groups/1", body, headers=old)
    assert await members(everywhere) == ["U1"]
    now = (await everywhere.get("/Groups/1"))["meta"]["version"]
    answer = await everywhere.ask("GET", "/Groups/1", headers={"If-None-Match": now})
    assert (answer.status_code, answer.content) == (304, b"")
    assert (await everywhere.ask("DELETE", "/Groups/1", headers={"If-Match": now})).status_code == 204


async def test_no_member_is_lost_when_twenty_clients_add_at_once(everywhere: Scim) -> None:
    await directory(everywhere, 20)
    await everywhere.create_group(displayName="g")
    adding = [
        everywhere.patch("/Groups/1", {"op": "add", "path": "members", "value": [user(id)]}) for id in range(1, 21)
    ]
    assert {each.status_code for each in await asyncio.gather(*adding)} == {204}
    assert len(await members(everywhere)) == 20


FOUND: dict[str, list[str]] = {
    'displayName eq "ALPHA"': ["Alpha"],
    'displayName sw "b"': ["Beta"],
    "displayName pr": ["Alpha", "Beta"],
    'externalId eq "x"': ["Alpha"],
    "externalId pr": ["Alpha"],
    'id eq "2"': ["Beta"],
    'members eq "1"': ["Alpha", "Beta"],
    'members.value eq "2"': ["Alpha"],
    'members[value eq "2"]': ["Alpha"],
    'members[value eq "1" and type eq "User"]': ["Alpha", "Beta"],
    'members[type eq "Group" and value eq "1"]': [],
    'members eq "x"': [],
    'not (members eq "2")': ["Beta"],
    "members pr": ["Alpha", "Beta"],
    'meta.resourceType eq "Group"': ["Alpha", "Beta"],
    f'schemas eq "{GROUP}"': ["Alpha", "Beta"],
    'userName eq "x"': [],
    'userName ne "x"': [],
    'members[foo eq "1"]': [],
    f'{ENTERPRISE}:department eq "x"': [],
}


async def test_3_4_2_groups_are_listed_filtered_and_sorted(everywhere: Scim) -> None:
    await directory(everywhere, 3)
    await everywhere.create_group(displayName="Alpha", externalId="x", members=[user(1), user(2)])
    await everywhere.create_group(displayName="Beta", members=[user(1)])
    for text, expected in FOUND.items():
        assert await everywhere.found(text, "/Groups", "displayName") == expected, text
    listed = await everywhere.get("/Groups", sortBy="displayName", sortOrder="descending", count=1)
    assert [each["members"] for each in listed["Resources"]] == [[user(1)]]
    lean = await everywhere.get("/Groups", excludedAttributes="members")
    assert all("members" not in each for each in lean["Resources"])
    assert await everywhere.found('groups.value eq "1"') == ["u1", "u2"]
    assert await everywhere.found('groups[value eq "1"]') == ["u1", "u2"]
    assert await everywhere.found('groups eq "2"') == ["u1"]
    assert await everywhere.found("not (groups pr)") == ["u3"]
    assert await everywhere.found('groups[value eq "x"]') == []


PARTS = {
    "members pr": ["users", "both", "whole"],
    "not (members pr)": ["none"],
    'members.value eq "1"': ["users", "both", "whole"],
    'members eq "2"': ["users", "both"],
    'members.type eq "Group"': ["both", "whole"],
    'members.type eq "user"': ["users", "both"],
    'members[type eq "Group" and value eq "1"]': ["both", "whole"],
    'members[type eq "User" and value eq "1"]': ["users"],
    'members[value eq "1" and not (type eq "Group")]': ["users"],
    'members[value eq "1" and value eq "2"]': [],
    'members[value eq "1"] and members[value eq "2"]': ["users", "both"],
    'members[not (value eq "1")]': ["users", "both"],
    'members.$ref eq "http://localhost/scim/v2/Users/1"': ["users"],
    'members[$ref eq "../Groups/1"]': ["both", "whole"],
    'members.$ref ne "../Groups/1"': ["users", "none"],
    "members.$ref pr": ["users", "both", "whole"],
    'members[type eq "x" or value eq "x"]': [],
    'members.display eq "x"': [],
    'not (members.display eq "x")': [],
    'meta.location eq "/scim/v2/Groups/3"': ["whole"],
    'meta.location eq "/scim/v2/Users/3"': [],
}


async def test_3_4_2_2_groups_are_found_by_members_of_both_types(everywhere: Scim) -> None:
    for name in ("u1", "u2"):
        await everywhere.create(userName=name)
    await everywhere.create_group(displayName="users", members=[user(1), user(2)])
    await everywhere.create_group(displayName="both", members=[user(2), group(1)])
    await everywhere.create_group(displayName="whole", members=[group(1)])
    await everywhere.create_group(displayName="none")
    await everywhere.create_group(displayName="deleted")
    await everywhere.patch("/Groups/4", {"op": "add", "path": "members", "value": [group(5)]})
    await everywhere.ask("DELETE", "/Groups/5")
    for text, expected in PARTS.items():
        assert await everywhere.found(text, "/Groups", "displayName") == expected, text


OF_USERS = {
    "groups pr": ["u1", "u2"],
    'groups.display eq "ENGINEERS"': ["u1", "u2"],
    'groups.display sw "o"': ["u2"],
    'groups[display eq "others" and value eq "2"]': ["u2"],
    'groups[display eq "others" and value eq "1"]': [],
    'groups[not (display eq "engineers")]': ["u2"],
    'groups.type eq "direct"': ["u1", "u2"],
    'groups.type eq "indirect"': [],
    'groups.$ref eq "/scim/v2/Groups/2"': ["u2"],
    'groups.$ref eq "/scim/v2/Users/2"': [],
    "not (groups.display pr)": ["u3"],
}


async def test_3_4_2_2_users_are_found_by_the_groups_that_they_are_in(everywhere: Scim) -> None:
    for name in ("u1", "u2", "u3"):
        await everywhere.create(userName=name)
    await everywhere.create_group(displayName="Engineers", members=[user(1), user(2)])
    await everywhere.create_group(displayName="Others", members=[user(2)])
    await everywhere.create_group(displayName="Deleted", members=[user(3)])
    await everywhere.ask("DELETE", "/Groups/3")
    for text, expected in OF_USERS.items():
        assert await everywhere.found(text) == expected, text


@pytest.mark.parametrize(
    "text",
    ['meta.lastModified gt "2020-01-01T00:00:00Z"', 'meta.version eq "x"', 'members gt "1"', "members.$ref[x pr]"],
)
async def test_an_unsupported_filter_of_groups_is_refused(scim: Scim, text: str) -> None:
    answer = await scim.ask("GET", "/Groups", params={"filter": text})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")


async def test_3_4_2_1_the_root_lists_users_and_groups(everywhere: Scim) -> None:
    await directory(everywhere, 3)
    for name in ("g", "h", "i"):
        await everywhere.create_group(displayName=name, members=[user(1)])

    def names(body: Any) -> list[str]:
        return [each.get("userName") or each["displayName"] for each in body["Resources"]]

    every = ["u1", "u2", "u3", "g", "h", "i"]
    assert names(await everywhere.get("/")) == every
    for count in (1, 2, 4, 5):
        walked: list[str] = []
        for start in range(1, 7, count):
            body = (await everywhere.ask("POST", "/.search", {"startIndex": start, "count": count})).json()
            assert body["totalResults"] == 6
            walked += names(body)
        assert walked == every
        walked = []
        cursor: str | None = ""
        while cursor is not None:
            body = (await everywhere.ask("POST", "/.search", {"cursor": cursor, "count": count})).json()
            walked += names(body)
            cursor = body.get("nextCursor")
        assert walked == every
    only = await everywhere.get("/", filter='meta.resourceType eq "Group" and displayName sw "g"')
    assert names(only) == ["g"]
    assert names(await everywhere.get("/", filter='userName eq "u2" or displayName eq "h"')) == ["u2", "h"]
    assert names(await everywhere.get("/", filter="not (userName pr)")) == ["g", "h", "i"]
    others = await everywhere.get("/", filter='userName ne "u2" and not (emails[type eq "x"])')
    assert names(others) == ["u1", "u3", "g", "h", "i"]
    assert names(await everywhere.get("/", filter="not (foo pr)")) == []


async def test_3_4_2_3_users_and_groups_are_sorted_together(everywhere: Scim) -> None:
    for number, name in enumerate((None, "E", "c"), 1):
        title = {} if name else {"title": ""}
        await everywhere.create(userName=f"u{number}", **({"displayName": name} if name else {}), **title)
    for name in ("d", "B"):
        await everywhere.create_group(displayName=name)

    async def names(**search: Any) -> list[str]:
        body = (await everywhere.ask("POST", "/.search", search)).json()
        assert (body["totalResults"], body["itemsPerPage"]) == (5, len(body["Resources"]))
        return [each.get("displayName") or each["userName"] for each in body["Resources"]]

    expected = ["B", "c", "d", "E", "u1"]
    assert await names(sortBy="displayName") == expected
    assert await names(sortBy="displayName", sortOrder="descending") == expected[::-1]
    for start in range(1, 7):
        assert await names(sortBy="displayName", startIndex=start, count=2) == expected[start - 1 :][:2]
    assert await names(sortBy="displayName", count=0) == []
    assert await names(sortBy="title") == ["u1", "E", "c", "d", "B"]
    assert await names(sortBy="userName", sortOrder="descending") == ["d", "B", "c", "E", "u1"]
    assert (await everywhere.get("/", sortBy="id", count=3))["Resources"][1]["meta"]["resourceType"] == "Group"
    await everywhere.refused(400, "tooMany", "GET", "/?sortBy=displayName&startIndex=10001&count=1")
    await everywhere.refused(400, "invalidPath", "GET", "/?sortBy=displayName&cursor=")
    await everywhere.refused(400, "invalidPath", "GET", "/?sortBy=foo")


async def test_a_key_that_may_not_read_groups_sees_users_without_them(directory_with: Any, client_of: Any) -> None:
    served = directory_with()
    _, all_of_it = await served.key(Scope.SCIM)
    _, users_only = await served.key(Scope.USERS_READ)
    for path, body in (("/Users", {"userName": "u"}), ("/Groups", {"displayName": "g", "members": [{"value": "1"}]})):
        await served.ask("POST", f"/scim/v2{path}", key=all_of_it, json=body)
    assert "groups" in (await served.ask("GET", "/scim/v2/Users/1", key=all_of_it)).json()
    assert "groups" not in (await served.ask("GET", "/scim/v2/Users/1", key=users_only)).json()

"""/Bulk (RFC 7644, section 3.7): many writes in one request, which may refer to each other."""

from typing import Any

import pytest
from tests.scim.conftest import ADDRESS, ENTERPRISE, MESSAGE, Scim


def user(bulk_id: str, **data: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": {"userName": bulk_id, **data}}


def group(bulk_id: str, *members: str, kind: str = "User") -> dict[str, Any]:
    named = [{"type": kind, "value": f"bulkId:{each}"} for each in members]
    data = {"displayName": bulk_id, "members": named}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": data}


async def bulk(scim: Scim, *operations: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    body = {"schemas": [f"{MESSAGE}BulkRequest"], "Operations": list(operations), **more}
    answer = await scim.ask("POST", "/Bulk", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["schemas"] == [f"{MESSAGE}BulkResponse"]
    results: list[dict[str, Any]] = answer.json()["Operations"]
    return results


def statuses(results: list[dict[str, Any]]) -> list[str]:
    return [each["status"] for each in results]


async def test_3_7_each_operation_has_the_same_result_as_a_single_request(everywhere: Scim) -> None:
    await everywhere.create(userName="old")
    await everywhere.create(userName="gone")
    results = await bulk(
        everywhere,
        user("new"),
        {"method": "PUT", "path": "/Users/1", "version": 'W/"1"', "data": {"userName": "put"}},
        {"method": "PATCH", "path": "/Users/1", "data": {"Operations": [{"op": "add", "path": "title", "value": "t"}]}},
        {"method": "DELETE", "path": "/Users/2"},
    )
    assert results == [
        {"method": "POST", "bulkId": "new", "location": f"{ADDRESS}/Users/3", "status": "201", "version": 'W/"1"'},
        {"method": "PUT", "location": f"{ADDRESS}/Users/1", "status": "200", "version": 'W/"2"'},
        {"method": "PATCH", "location": f"{ADDRESS}/Users/1", "status": "200", "version": 'W/"3"'},
        {"method": "DELETE", "location": f"{ADDRESS}/Users/2", "status": "204"},
    ]


async def test_3_7_2_an_operation_may_refer_to_earlier_and_later_ones(everywhere: Scim) -> None:
    results = await bulk(everywhere, group("before", "a", "b"), user("a"), user("b"), group("after", "b"))
    assert statuses(results) == ["201"] * 4
    assert [each["bulkId"] for each in results] == ["before", "a", "b", "after"]
    named = {each["displayName"]: each["members"] for each in (await everywhere.get("/Groups"))["Resources"]}
    assert [each["value"] for each in named["before"]] == ["1", "2"]
    assert [each["value"] for each in named["after"]] == ["2"]


async def test_3_7_2_a_path_and_an_extension_may_refer_to_other_operations(everywhere: Scim) -> None:
    manager = {ENTERPRISE: {"manager": {"value": "bulkId:boss"}}}
    results = await bulk(
        everywhere,
        user("clerk", **manager),
        user("boss"),
        {"method": "PATCH", "path": "/Users/bulkId:boss",
         "data": {"Operations": [{"op": "add", "path": "title", "value": "Boss"}]}},
    )  # fmt: skip
    assert statuses(results) == ["201", "201", "200"]
    (boss,) = (await everywhere.get("/Users", filter='userName eq "boss"'))["Resources"]
    (clerk,) = (await everywhere.get("/Users", filter='userName eq "clerk"'))["Resources"]
    assert boss["title"] == "Boss"
    assert clerk[ENTERPRISE]["manager"]["value"] == boss["id"]


async def test_3_7_1_two_that_refer_to_each_other_are_resolved(everywhere: Scim) -> None:
    results = await bulk(
        everywhere,
        user("a", **{ENTERPRISE: {"manager": {"value": "bulkId:b"}, "department": "d"}}),
        user("b", **{ENTERPRISE: {"manager": {"value": "bulkId:a"}}}),
    )
    assert statuses(results) == ["201", "201"]
    a, b = (await everywhere.get("/Users"))["Resources"]
    assert a[ENTERPRISE] == {"department": "d", "manager": {"value": b["id"]}}
    assert b[ENTERPRISE] == {"manager": {"value": a["id"]}}


async def test_3_7_1_a_cycle_of_groups_is_a_conflict(everywhere: Scim) -> None:
    results = await bulk(everywhere, group("A", "B", kind="Group"), group("B", "A", kind="Group"))
    assert "409" in statuses(results)
    listed = (await everywhere.get("/Groups"))["Resources"]
    assert all(each["displayName"] != "A" for each in listed)


async def test_3_7_3_an_error_ends_only_its_own_operation(everywhere: Scim) -> None:
    results = await bulk(
        everywhere,
        user("a"),
        user("a2", userName="a"),
        {"method": "PUT", "path": "/Users/99", "data": {"userName": "x"}},
        {"method": "PATCH", "path": "/Users/1", "version": 'W/"7"', "data": {"Operations": [{"op": "add"}]}},
        {"method": "GET", "path": "/Foo/1"} | {"method": "DELETE"},
        {"method": "DELETE", "path": "/Users"},
        group("g", "a2"),
        group("h", "nobody"),
        user("b"),
    )
    assert statuses(results) == ["201", "409", "404", "400", "404", "405", "409", "400", "201"]
    assert "location" not in results[1]
    assert results[1]["response"]["scimType"] == "uniqueness"
    assert results[2]["location"] == f"{ADDRESS}/Users/99"
    assert results[2]["response"]["status"] == "404"


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, ["409"]), (2, ["409", "201", "409"]), (0, ["409", "201", "409", "201"])]
)
async def test_3_7_3_the_request_ends_after_the_number_of_errors_in_fail_on_errors(
    scim: Scim, limit: int, expected: list[str]
) -> None:
    await scim.create(userName="a")
    results = await bulk(scim, user("a"), user("b"), user("a"), user("c"), failOnErrors=limit)
    assert statuses(results) == expected


@pytest.mark.parametrize(
    "body",
    [{}, {"Operations": []}, {"Operations": {}}, {"Operations": [5]}, {"Operations": [{"method": "GET", "path": "/x"}]},
     {"Operations": [{"method": "POST"}]}],
)  # fmt: skip
async def test_a_request_without_operations_is_refused(scim: Scim, body: Any) -> None:
    await scim.refused(400, "invalidSyntax", "POST", "/Bulk", body)


async def test_3_7_4_more_than_the_server_takes_is_a_413(scim: Scim) -> None:
    most = (await scim.get("/ServiceProviderConfig"))["bulk"]["maxOperations"]
    body = {"Operations": [{"method": "DELETE", "path": "/Users/1"}] * (most + 1)}
    await scim.refused(413, None, "POST", "/Bulk", body)


async def test_3_7_a_bulk_id_that_is_referred_to_has_to_be_unique(scim: Scim, strict: Scim) -> None:
    operations = [user("a"), user("a", userName="b")]
    assert statuses(await bulk(scim, *operations)) == ["201", "201"]
    await scim.refused(400, "invalidSyntax", "POST", "/Bulk", {"Operations": [*operations, group("g", "a")]})
    schemas = [f"{MESSAGE}BulkRequest"]
    await strict.refused(400, "invalidSyntax", "POST", "/Bulk", {"schemas": schemas, "Operations": operations})


async def test_3_7_3_each_result_except_that_of_a_failed_post_has_a_location(scim: Scim) -> None:
    (result,) = await bulk(scim, {"method": "DELETE", "path": "/Users/bulkId:nobody"})
    assert (result["status"], result["location"]) == ("400", f"{ADDRESS}/Users/bulkId:nobody")


async def test_an_operation_that_refers_to_a_failed_one_is_not_carried_out(scim: Scim) -> None:
    results = await bulk(scim, group("g", "late"), user("late", userName=""))
    assert statuses(results) == ["409", "400"]
    assert (await scim.get("/Groups"))["totalResults"] == 0

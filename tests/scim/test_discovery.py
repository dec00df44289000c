"""How the server describes itself (RFC 7643, sections 5 to 7; RFC 7644, section 4; RFC 9865, section 4)."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.api.conftest import Directory
from tests.scim.conftest import ADDRESS, ENTERPRISE, GROUP, MESSAGE, USER, Opened, Scim

from api.scim.schemas.discovery import SCHEMAS
from api.scim.schemas.resources import RESOURCE_TYPES
from domain.keys import Scope

CORE = "urn:ietf:params:scim:schemas:core:2.0:"


async def test_5_the_configuration_shows_what_is_supported(scim: Scim) -> None:
    config = await scim.get("/ServiceProviderConfig", filter="ignored")
    assert config["schemas"] == [f"{CORE}ServiceProviderConfig"]
    for feature in ("patch", "filter", "sort", "etag"):
        assert config[feature]["supported"] is True, feature
    assert config["changePassword"] == {"supported": False}
    assert config["filter"]["maxResults"] == 1000
    assert config["pagination"] == {
        "cursor": True, "index": True, "defaultPaginationMethod": "index", "defaultPageSize": 100, "maxPageSize": 1000,
    }  # fmt: skip
    assert [each["type"] for each in config["authenticationSchemes"]] == ["oauthbearertoken"]
    assert config["meta"]["location"] == f"{ADDRESS}/ServiceProviderConfig"


async def test_6_each_resource_type_is_described_alone_and_in_the_list(scim: Scim) -> None:
    listed = await scim.get("/ResourceTypes")
    assert listed["schemas"] == [f"{MESSAGE}ListResponse"]
    assert listed["totalResults"] == len(listed["Resources"]) == len(RESOURCE_TYPES)
    for each in listed["Resources"]:
        assert each == await scim.get(f"/ResourceTypes/{each['id']}")
        assert each["meta"]["location"] == f"{ADDRESS}/ResourceTypes/{each['id']}"
    user = await scim.get("/ResourceTypes/User")
    assert (user["endpoint"], user["schema"]) == ("/Users", USER)
    assert user["schemaExtensions"] == [{"schema": ENTERPRISE, "required": False}]


async def test_7_each_schema_is_described_alone_and_in_the_list(scim: Scim) -> None:
    listed = await scim.get("/Schemas")
    assert {each["id"] for each in listed["Resources"]} == {USER, ENTERPRISE, GROUP}
    for each in listed["Resources"]:
        assert each == await scim.get(f"/Schemas/{each['id']}")
    for id in SCHEMAS:
        assert (await scim.get(f"/Schemas/{id}"))["id"] == id


async def test_7_each_attribute_is_described_with_all_its_properties(scim: Scim) -> None:
    def check(attribute: dict[str, Any]) -> None:
        assert attribute.keys() >= {
            "name", "type", "multiValued", "description", "required", "caseExact", "mutability", "returned",
            "uniqueness",
        }  # fmt: skip
        assert (attribute["type"] == "complex") is ("subAttributes" in attribute)
        for part in attribute.get("subAttributes", []):
            check(part)

    for each in [await scim.get(f"/Schemas/{id}") for id in SCHEMAS]:
        for attribute in each["attributes"]:
            check(attribute)


@pytest.mark.parametrize("path", ["/ResourceTypes", "/ResourceTypes/User", "/Schemas", f"/Schemas/{USER}"])
async def test_4_a_filter_on_descriptions_is_refused(scim: Scim, path: str) -> None:
    await scim.refused(403, None, "GET", f"{path}?filter=name%20pr")


@pytest.mark.parametrize("path", ["/ResourceTypes/Foo", "/Schemas/urn:x", "/ServiceProviderConfig/x", "/Foo"])
async def test_an_unknown_path_of_discovery_is_a_404(scim: Scim, path: str) -> None:
    await scim.refused(404, None, "GET", path)


async def test_addresses_are_absolute_if_the_public_url_is_set(
    directory_with: Callable[..., Directory], client_of: Opened
) -> None:
    async with client_of(directory_with(public_url="https://people.example.org/base/").container) as http:
        created = await Scim(http).create(userName="b")
    assert created["meta"]["location"] == "https://people.example.org/base/scim/v2/Users/1"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "127.0.0.1:8000"}, "http://127.0.0.1:8000/scim/v2/ServiceProviderConfig"),
        ({"host": "LocalHost:8000"}, "http://localhost:8000/scim/v2/ServiceProviderConfig"),
        ({"host": "evil.example.org"}, "/scim/v2/ServiceProviderConfig"),
        ({"host": "127.0.0.1.evil.example.org"}, "/scim/v2/ServiceProviderConfig"),
        ({"host": "localhost/x"}, "/scim/v2/ServiceProviderConfig"),
        ({"host": "localhost", "x-forwarded-for": "192.0.2.1"}, "/scim/v2/ServiceProviderConfig"),
    ],
)
async def test_addresses_are_absolute_for_loopback_hosts_and_relative_for_others(
    directory: Directory, headers: dict[str, str], expected: str
) -> None:
    _, secret = await directory.key(Scope.SCIM)
    answer = await directory.ask("GET", "/scim/v2/ServiceProviderConfig", key=secret, headers=headers)
    assert answer.json()["meta"]["location"] == expected

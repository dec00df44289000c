"""/Users: create, read, replace, patch, delete (RFC 7644, sections 3.3 to 3.6), and that SCIM and REST agree."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scim.conftest import ADDRESS, ENTERPRISE, USER, Scim

from api.scim.resources.people import changed, new_user, resource_of
from api.scim.schemas.attributes import Attribute
from api.scim.schemas.resources import USERS
from api.scim.values import resource_in
from domain.users import NewUser, User

FULL: dict[str, Any] = {
    "externalId": "e-1",
    "userName": "bjensen@example.com",
    "name": {
        "formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara", "middleName": "Jane",
        "honorificPrefix": "Ms.", "honorificSuffix": "III",
    },
    "displayName": "Babs Jensen",
    "nickName": "Babs",
    "profileUrl": "https://login.example.com/bjensen",
    "title": "Tour Guide",
    "userType": "Employee",
    "preferredLanguage": "en-US",
    "locale": "en-US",
    "timezone": "America/Los_Angeles",
    "active": True,
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@corp.local", "display": "at home", "type": "home"},
    ],
    "phoneNumbers": [{"value": "tel:+1-201-555-0123", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
    "ims": [{"value": "someaimhandle", "type": "aim"}],
    "photos": [{"value": "https://photos.example.com/F", "type": "photo"}],
    "addresses": [
        {"formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA", "streetAddress": "100 Universal City Plaza",
         "locality": "Hollywood", "region": "CA", "postalCode": "91608", "country": "US", "type": "work",
         "primary": True},
        {"locality": "Ürümqi", "type": "home"},
    ],
    "entitlements": [{"value": "e"}],
    "roles": [{"value": "admin", "display": "Administrator"}],
    "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVMx"}],
    ENTERPRISE: {
        "employeeNumber": "701984", "costCenter": "4130", "organization": "Universal Studios",
        "division": "Theme Park", "department": "Tour Operations", "manager": {"value": "26118915-6090-4610"},
    },
}  # fmt: skip


def written(resource: dict[str, Any]) -> dict[str, Any]:
    """What a client can write of a resource."""
    return {name: value for name, value in resource.items() if name not in {"schemas", "id", "meta"}}


async def test_3_3_creating_a_user_returns_it_with_its_location_and_version(everywhere: Scim) -> None:
    answer = await everywhere.ask("POST", "/Users", {"schemas": [USER, ENTERPRISE], **FULL, "password": "secret"})
    created = answer.json()
    assert answer.status_code == 201
    assert written(created) == FULL
    assert created["schemas"] == [USER, ENTERPRISE]
    assert created["id"] == "1"
    assert answer.headers["location"] == created["meta"]["location"] == f"{ADDRESS}/Users/1"
    shown = await everywhere.ask("GET", "/Users/1")
    assert shown.headers["content-location"] == shown.json()["meta"]["location"] == f"{ADDRESS}/Users/1"
    assert answer.headers["etag"] == created["meta"]["version"] == 'W/"1"'
    assert created["meta"]["resourceType"] == "User"
    assert created["meta"]["created"] == created["meta"]["lastModified"]
    assert await everywhere.get("/Users/1") == created
    assert "secret" not in (await everywhere.http.get("/changes/")).text


async def test_rest_shows_a_user_that_scim_wrote(everywhere: Scim) -> None:
    await everywhere.create(**FULL)
    assert (await everywhere.http.get("/users/1")).json() == {
        "id": 1,
        "name": "Babs Jensen",
        "email": "bjensen@example.com",
        "username": "bjensen@example.com",
        "external_id": "e-1",
    }
    await everywhere.patch("/Users/1", {"op": "replace", "value": {"active": False, "displayName": "B"}})
    shown = (await everywhere.http.get("/users/1")).json()
    assert (shown["status"], shown["name"]) == ("suspended", "B")


async def test_writes_by_rest_keep_attributes_that_scim_wrote(everywhere: Scim) -> None:
    await everywhere.create(**FULL)
    patch = {"name": "Barb", "email": "new@example.com", "status": "suspended", "attributes": {"a": 1}}
    await everywhere.http.patch("/users/1", json=patch)
    emails = [{**FULL["emails"][0], "value": "new@example.com"}, FULL["emails"][1]]
    expected = {**FULL, "displayName": "Barb", "active": False, "emails": emails}
    assert written(await everywhere.get("/Users/1")) == expected

    await everywhere.http.put("/users/by/external-id/e-1", json={"name": "Put", "username": "u"})
    replaced = {**expected, "displayName": "Put", "userName": "u", "active": True, "emails": emails[1:]}
    assert written(await everywhere.get("/Users/1")) == replaced


async def test_writes_by_scim_keep_fields_that_rest_wrote(everywhere: Scim) -> None:
    body = {"name": "Alice", "email": "a@x.org", "attributes": {"department": "eng"}}
    await everywhere.http.post("/users/", json=body)
    shown = await everywhere.get("/Users/1")
    assert written(shown) == {
        "userName": "1", "displayName": "Alice", "emails": [{"value": "a@x.org", "primary": True}], "active": True,
    }  # fmt: skip

    await everywhere.ask("PUT", "/Users/1", shown)
    assert (await everywhere.http.get("/users/1")).json() == {"id": 1, **body}
    assert (await everywhere.get("/Users/1"))["meta"] == shown["meta"], "what was shown, put back, changes nothing"

    await everywhere.patch("/Users/1", {"op": "add", "path": "title", "value": "VP"})
    await everywhere.ask("PUT", "/Users/1", {"userName": "alice", "emails": [{"value": "b@x.org"}]})
    expected = {"id": 1, "name": "alice", "email": "b@x.org", "username": "alice", "attributes": body["attributes"]}
    assert (await everywhere.http.get("/users/1")).json() == expected


async def test_an_email_that_rest_cleared_stays_cleared_after_other_writes(scim: Scim) -> None:
    await scim.create(**FULL)
    await scim.http.patch("/users/1", json={"email": None})
    await scim.patch("/Users/1", {"op": "replace", "path": "title", "value": "VP"})
    assert "email" not in (await scim.http.get("/users/1")).json()
    assert (await scim.get("/Users/1"))["emails"] == FULL["emails"][1:]
    await scim.patch("/Users/1", {"op": "replace", "path": 'emails[type eq "home"].value', "value": "c@x.org"})
    assert (await scim.http.get("/users/1")).json()["email"] == "c@x.org"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "u"),
        ({"displayName": " Dee "}, "Dee"),
        ({"displayName": " "}, "u"),
        ({"name": {"formatted": "F G", "givenName": "g"}}, "F G"),
        ({"name": {"givenName": "g", "familyName": "f"}}, "g f"),
        ({"name": {"familyName": "f"}}, "f"),
        ({"displayName": "x" * 300}, "x" * 200),
    ],
)
async def test_the_name_of_the_user_is_the_first_available_name(scim: Scim, body: dict[str, Any], name: str) -> None:
    created = await scim.create(userName="u", **body)
    assert (await scim.http.get("/users/1")).json()["name"] == name
    assert written(created) == {"userName": "u", "active": True, **body}


async def test_3_5_1_a_put_replaces_all_attributes_that_can_be_written(everywhere: Scim) -> None:
    before = await everywhere.create(**FULL)
    body = {"schemas": [USER], "id": "99", "userName": "b", "nickName": "N", "meta": {"version": "x"}, "groups": []}
    after = (await everywhere.ask("PUT", "/Users/1", body)).json()
    assert written(after) == {"userName": "b", "nickName": "N", "active": True}
    assert after["schemas"] == [USER]
    assert (after["id"], after["meta"]["created"]) == ("1", before["meta"]["created"])
    assert after["meta"]["version"] == 'W/"2"'
    again = (await everywhere.ask("PUT", "/Users/1", body)).json()
    assert again == after, "the same again changes nothing"


async def test_a_put_without_active_keeps_a_suspended_user_suspended(scim: Scim) -> None:
    await scim.create(userName="b", active=False)
    assert (await scim.ask("PUT", "/Users/1", {"userName": "b", "title": "t"})).json()["active"] is False


async def test_3_5_2_a_patch_is_atomic_and_one_that_changes_nothing_keeps_the_version(everywhere: Scim) -> None:
    before = await everywhere.create(**FULL)
    await everywhere.refused(
        400, "noTarget", "PATCH", "/Users/1",
        {"Operations": [{"op": "replace", "path": "title", "value": "CEO"},
                        {"op": "replace", "path": 'emails[type eq "fax"].value', "value": "x"}]},
    )  # fmt: skip
    assert await everywhere.get("/Users/1") == before
    answer = await everywhere.patch(
        "/Users/1",
        {"op": "replace", "path": "title", "value": "CEO"},
        {"op": "add", "value": {"emails": FULL["emails"], "title": FULL["title"]}},
    )
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, before, 'W/"1"')
    assert len((await everywhere.http.get("/changes/")).json()) == 1


async def test_3_6_a_deleted_user_is_not_found_and_its_name_is_free(everywhere: Scim) -> None:
    await everywhere.create(userName="b")
    answer = await everywhere.ask("DELETE", "/Users/1")
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE"):
        await everywhere.refused(404, None, method, "/Users/1")
    await everywhere.refused(404, None, "PUT", "/Users/1", {"userName": "b"})
    assert await everywhere.found('userName eq "b"') == []
    assert (await everywhere.create(userName="b"))["id"] == "2"
    assert (await everywhere.http.get("/users/1")).status_code == 410


@pytest.mark.parametrize(
    "path", ["/Users/0", "/Users/7", "/Users/x", "/Users/01", "/Users/1x", "/Users/%00", "/Users/9" * 9]
)
async def test_an_id_that_no_user_has_is_a_404(scim: Scim, path: str) -> None:
    await scim.refused(404, None, "GET", path)


async def test_creating_a_deleted_user_again_restores_it(everywhere: Scim) -> None:
    await everywhere.create(**FULL)
    await everywhere.refused(409, "uniqueness", "POST", "/Users", {"userName": "other", "externalId": "e-1"})
    await everywhere.ask("DELETE", "/Users/1")
    back = await everywhere.create(userName="new", externalId="e-1")
    assert written(back) == {"userName": "new", "externalId": "e-1", "active": True}
    assert back["id"] == "1"
    await everywhere.patch("/Users/1", {"op": "replace", "value": {"active": False}})
    assert (await everywhere.create(userName="again", externalId="e-1"))["id"] == "1"


async def test_a_user_with_the_same_email_is_a_conflict_and_is_not_changed(scim: Scim) -> None:
    await scim.http.post("/users/", json={"name": "Alice", "email": "a@x.org"})
    assert await scim.found('userName eq "a@x.org"') == []
    refusal = await scim.refused(
        409, "uniqueness", "POST", "/Users", {"userName": "a@x.org", "emails": [{"value": "A@x.org"}]}
    )
    assert refusal["detail"] == "Another one has this emails."
    assert (await scim.http.get("/users/1")).json() == {"id": 1, "name": "Alice", "email": "a@x.org"}


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        ({}, "invalidValue"),
        ({"userName": ""}, "invalidValue"),
        ({"userName": None}, "invalidValue"),
        ({"userName": "x" * 201}, "invalidValue"),
        ({"userName": "b", "externalId": "x" * 256}, "invalidValue"),
        ({"userName": "b", "emails": [{"value": "x" * 300}]}, "invalidValue"),
        ({"userName": "b", "active": "perhaps"}, "invalidValue"),
        ({"userName": "b", "title": ["a", "b"]}, "invalidValue"),
        ({"userName": "b", "title": "a\0b"}, "invalidValue"),
        ({"userName": "b", "title": "x" * 70_000}, "invalidValue"),
        (
            {"userName": "b", "emails": [{"value": "a", "primary": True}, {"value": "b", "primary": True}]},
            "invalidValue",
        ),
        ({"userName": "b", "username": "c"}, "invalidSyntax"),
        ([], "invalidSyntax"),
        ("x", "invalidSyntax"),
    ],
)
async def test_3_12_a_body_that_breaks_a_rule_is_refused_and_not_echoed(scim: Scim, body: Any, scim_type: str) -> None:
    refusal = await scim.refused(400, scim_type, "POST", "/Users", body)
    assert "xxxx" not in str(refusal)
    assert (await scim.get("/Users"))["totalResults"] == 0


async def test_2_1_names_are_the_same_in_any_case_and_unknown_ones_are_ignored(scim: Scim) -> None:
    created = await scim.create(
        USERNAME="b", Name={"GIVENNAME": "B", "x": 1}, EMAILS={"Value": "b@x.org"}, foo=[1], **{"urn:x:y": {"a": 1}},
        **{ENTERPRISE.upper(): {"DEPARTMENT": "d"}},
    )  # fmt: skip
    assert written(created) == {
        "userName": "b", "name": {"givenName": "B"}, "emails": [{"value": "b@x.org"}], "active": True,
        ENTERPRISE: {"department": "d"},
    }  # fmt: skip


async def test_2_5_null_and_empty_values_are_unassigned(scim: Scim) -> None:
    created = await scim.create(userName="b", title=None, emails=[], name={}, roles=[{}, None], **{ENTERPRISE: {}})
    assert written(created) == {"userName": "b", "active": True}


texts = st.text("aB é😀\n", max_size=5)


def values_of(attribute: Attribute) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any] = texts
    if attribute.parts:
        writable = [part for part in attribute.parts.values() if part.mutability == "readWrite"]
        one = st.fixed_dictionaries({}, optional={part.name: values_of(part) for part in writable})
    elif attribute.type == "boolean":
        one = st.booleans()
    return st.lists(one, max_size=3) if attribute.multi else one


WRITABLE = [each for each in USERS.attributes.values() if each.mutability == "readWrite" and each.name != "schemas"]
bodies = st.fixed_dictionaries(
    {"userName": st.text("aBé", min_size=1, max_size=4)},
    optional={
        "externalId": st.text("aB", min_size=1, max_size=3),
        **{each.name: values_of(each) for each in WRITABLE if each.name not in {"userName", "externalId"}},
    },
)


def stored(new: NewUser) -> User:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    names = ("name", "email", "username", "external_id", "status", "attributes", "scim")
    return User(id=1, created_at=at, updated_at=at, version=1, **{name: getattr(new, name) for name in names})


def one_primary(body: dict[str, Any]) -> dict[str, Any]:
    for value in body.values():
        if isinstance(value, list):
            for each in value[1:]:
                each.pop("primary", None)
    return body


@settings(max_examples=150, deadline=None)
@given(bodies.map(one_primary), bodies.map(one_primary))
def test_a_user_shows_all_that_was_written_even_after_other_writes(one: Any, other: Any) -> None:
    resource = resource_in(one, USERS, strict=False)
    user = stored(new_user(resource))
    assert resource_of(user) == {"active": True, **resource}
    assert changed(user, resource_of(user)) is user

    again = resource_in({"active": True, **other}, USERS, strict=False)
    after = changed(user, again)
    assert resource_of(after) == again

    suspended = after.patched({"status": "suspended", "attributes": {"a": 1}})
    assert resource_of(suspended) == {**resource_of(after), "active": False}

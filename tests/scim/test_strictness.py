"""What is tolerated by default, and refused with `scim_strict`: by the standards to the letter, and by the
interoperability profile (draft-zollner-scim-interop-profile). Each case is asked both ways.
"""

from typing import Any
from urllib.parse import quote

from tests.scim.conftest import ENTERPRISE, GROUP, MESSAGE, USER, Scim, patch

BULK = f"{MESSAGE}BulkRequest"
PATCH = f"{MESSAGE}PatchOp"


def user(**body: Any) -> tuple[str, str, Any]:
    return "POST", "/Users", {"schemas": [USER], "userName": "new", **body}


def extended(**body: Any) -> tuple[str, str, Any]:
    return user(schemas=[USER, ENTERPRISE], **{ENTERPRISE: body})


def change(op: str, *rest: Any, path: str = "/Users/1") -> tuple[str, str, Any]:
    names = ("path", "value")
    return "PATCH", path, patch({"op": op, **dict(zip(names, rest, strict=False))})


def found(filter: str) -> tuple[str, str, Any]:
    return "GET", f"/Users?filter={quote(filter)}", None


def bulk(*operations: Any) -> tuple[str, str, Any]:
    return "POST", "/Bulk", {"schemas": [BULK], "Operations": list(operations)}


POSTED = {"method": "POST", "path": "/Users", "bulkId": "x", "data": {"schemas": [USER], "userName": "new"}}

TOLERATED: dict[str, tuple[tuple[str, str, Any], str]] = {
    # RFC 7643, section 3: schemas
    "no schemas": (("POST", "/Users", {"userName": "new"}), "invalidSyntax"),
    "another schema": (user(schemas=["urn:x"]), "invalidSyntax"),
    "a schema that is not of this type": (user(schemas=[USER, GROUP]), "invalidSyntax"),
    "a schema twice": (user(schemas=[USER, USER]), "invalidSyntax"),
    "an extension that schemas does not name": (user(**{ENTERPRISE: {"department": "d"}}), "invalidSyntax"),
    "no schemas in a PATCH": (
        ("PATCH", "/Users/1", {"Operations": [{"op": "add", "path": "title", "value": "t"}]}), "invalidSyntax",
    ),
    "no schemas in a PUT": (("PUT", "/Users/1", {"userName": "b"}), "invalidSyntax"),
    "no schemas in a search": (("POST", "/Users/.search", {}), "invalidSyntax"),
    "no schemas in a bulk request": (("POST", "/Bulk", {"Operations": [POSTED]}), "invalidSyntax"),
    # RFC 7643, sections 2.3, 2.4 and 4.1.2: types of values
    "a boolean as a string": (user(active="True"), "invalidValue"),
    "a number for a string": (user(title=5), "invalidValue"),
    "one value for many": (user(emails={"value": "a@b"}), "invalidValue"),
    "a list of one for one": (user(title=["t"]), "invalidValue"),
    "a bare value for a complex one": (extended(manager="1"), "invalidValue"),
    "a certificate that is not in base64": (user(x509Certificates=[{"value": "no!"}]), "invalidValue"),
    "a country by its name": (user(addresses=[{"country": "Germany"}]), "invalidValue"),
    # the profile: what no schema has
    "an unknown attribute": (user(foo="x"), "invalidSyntax"),
    "an unknown part": (user(name={"foo": "x"}), "invalidSyntax"),
    "an unknown attribute of an extension": (extended(foo="x"), "invalidSyntax"),
    "an unknown extension": (user(**{"urn:x:2.0:Y": {"a": 1}}), "invalidSyntax"),
    "an unknown part of a member": (
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "g", "members": [{"value": "1", "display": "B"}]}),
        "invalidSyntax",
    ),
    "an unknown part in a PATCH": (change("add", "name", {"foo": "x"}), "invalidSyntax"),
    # RFC 7644, section 3.5.2
    "an operation in another case": (change("Replace", "title", "t"), "invalidSyntax"),
    "a remove with a value": (change("remove", "emails", [{"value": "h@x.org"}]), "invalidSyntax"),
    "a boolean as a string in a PATCH": (change("replace", "active", "False"), "invalidValue"),
    "one value for many in a PATCH": (change("add", "emails", {"value": "p@x.org"}), "invalidValue"),
    # the profile: each operation has a path
    "no path": (("PATCH", "/Users/1", patch({"op": "replace", "value": {"title": "t"}})), "invalidSyntax"),
    # RFC 7644, section 3.4.2.2: the grammar, and the profile for unknown attributes
    "a word of JSON in another case": (found("active eq True"), "invalidFilter"),
    "a boolean as a string in a filter": (found('active eq "true"'), "invalidFilter"),
    "a boolean part as a string in a filter": (found('emails[primary eq "true"]'), "invalidFilter"),
    "a part behind the brackets": (found('emails[type eq "work"].value eq "w@x.org"'), "invalidFilter"),
    "an unknown attribute in a filter": (found('foo eq "x"'), "invalidFilter"),
    "an unknown part in a filter": (found('emails[foo eq "x"]'), "invalidFilter"),
    # RFC 7644, section 3.9
    "both lists of attributes": (("GET", "/Users?attributes=title&excludedAttributes=title", None), "invalidSyntax"),
    # RFC 7644, section 3.7
    "a POST without a bulkId": (bulk({**POSTED, "bulkId": None}), "invalidSyntax"),
    "a bulkId twice": (bulk(POSTED, POSTED), "invalidSyntax"),
    "a method in another case": (bulk({**POSTED, "method": "Post"}), "invalidSyntax"),
}  # fmt: skip

BOB = {
    "userName": "bob",
    "name": {"givenName": "Bob", "familyName": "B"},
    "emails": [{"value": "w@x.org", "type": "work"}, {"value": "h@x.org", "type": "home"}],
}


async def test_tolerated_requests_are_accepted_by_default_and_refused_by_a_strict_server(
    scim: Scim, strict: Scim
) -> None:
    for server in (scim, strict):
        await server.create(**BOB)
    for number, (case, (request, scim_type)) in enumerate(TOLERATED.items()):
        await strict.refused(400, scim_type, *request)
        method, path, body = request
        if isinstance(body, dict) and body.get("userName") == "new":
            body = {**body, "userName": f"new{number}"}
        assert (await scim.ask(method, path, body)).status_code < 300, case
    assert (await strict.get("/Users"))["totalResults"] == 1


TAKEN: dict[str, tuple[str, str, Any]] = {
    "attributes by names in any case": ("POST", "/Users", {"Schemas": [USER], "USERNAME": "n1", "Title": "t"}),
    "read-only attributes, which are ignored": user(userName="n2", id="9", meta={"version": "x"}, groups=[]),
    "a password, which is discarded": user(userName="n3", password="secret"),
    "a null": user(userName="n4", title=None, emails=[]),
    "an extension": user(userName="n5", schemas=[USER, ENTERPRISE], **{ENTERPRISE: {"department": "d"}}),
    "a country by its code": user(userName="n6", addresses=[{"country": "DE"}]),
    "a filter in any case of its names and operators": found('USERNAME Eq "bob" AND not (Title PR)'),
    "a value path": found('emails[type eq "work" and value co "@x"]'),
    "a path to a value": change("replace", 'emails[type eq "work"].value', "n@x.org"),
    "a path of a qualified name": change("add", f"{ENTERPRISE}:department", "d"),
    "a remove by a filter": change("remove", 'emails[type eq "home"]'),
    "an operation on many values": change("add", "emails", [{"value": "o@x.org"}]),
    "a bulk request": bulk(POSTED),
}


async def test_a_strict_server_accepts_what_the_standards_allow(scim: Scim, strict: Scim) -> None:
    for server in (scim, strict):
        await server.create(**BOB)
        for case, request in TAKEN.items():
            assert (await server.ask(*request)).status_code < 300, case


async def test_replacing_a_complex_attribute_drops_its_other_parts_only_on_a_strict_server(
    scim: Scim, strict: Scim
) -> None:
    expected = [(scim, {"familyName": "B", "givenName": "R"}), (strict, {"givenName": "R"})]
    for server, name in expected:
        await server.create(**BOB)
        await server.ask(*change("replace", "name", {"givenName": "R"}))
        assert (await server.get("/Users/1"))["name"] == name
        await server.ask(*change("add", "name", {"middleName": "M"}))
        assert (await server.get("/Users/1"))["name"] == {**name, "middleName": "M"}


async def test_an_unknown_attribute_as_a_path_is_refused_with_its_scim_type(scim: Scim, strict: Scim) -> None:
    for server, scim_type in ((scim, "invalidPath"), (strict, "invalidSyntax")):
        await server.create(**BOB)
        await server.refused(400, scim_type, *change("add", "foo", "x"))
        await server.refused(400, scim_type, *change("add", 'emails[type eq "work"].foo', "x"))
        await server.refused(400, "invalidPath", *change("add", 'emails[type eq "work"', "x"))


async def test_a_strict_server_says_that_it_follows_the_profile(scim: Scim, strict: Scim) -> None:
    assert "interopProfileConformant" not in await scim.get("/ServiceProviderConfig")
    config = await strict.get("/ServiceProviderConfig")
    assert config["interopProfileConformant"] is True
    assert "interop" in config["documentationUri"]


async def test_each_type_attribute_declares_its_canonical_values(strict: Scim) -> None:
    for schema in (USER, GROUP):
        for attribute in (await strict.get(f"/Schemas/{schema}"))["attributes"]:
            for part in attribute.get("subAttributes", []):
                assert part["name"] != "type" or part["canonicalValues"], attribute["name"]

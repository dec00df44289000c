"""PATCH as a function (RFC 7644, section 3.5.2): each operation at each kind of target."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.scim.errors import Refused
from api.scim.operations import operations_in
from api.scim.patching import patched
from api.scim.schemas.resources import USER, USERS
from domain.errors import Malformed
from domain.scim import ENTERPRISE

WORK = {"value": "w@x.org", "type": "work", "primary": True}
HOME = {"value": "h@x.org", "type": "home"}
BASE: dict[str, Any] = {
    "userName": "bjensen",
    "name": {"familyName": "Jensen", "givenName": "Barbara"},
    "title": "VP",
    "active": True,
    "emails": [WORK, HOME],
    "photos": [{"value": "https://x.org/A", "type": "photo"}],
    "x509Certificates": [{"value": "MDA="}],
    ENTERPRISE: {"department": "Eng", "manager": {"value": "7", "$ref": "../Users/7"}},
}


def operations(*given: Any, strict: bool = False) -> Any:
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(given)}
    return operations_in(body, USERS, strict=strict)


def after(*given: Any, strict: bool = False, base: Any = None) -> Any:
    return patched(BASE if base is None else base, operations(*given, strict=strict), USERS, strict=strict)


def op(name: str, path: str | None = None, *value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"op": name} if path is None else {"op": name, "path": path}
    return {**found, "value": value[0]} if value else found


def with_(**changed: Any) -> Any:
    return {name: value for name, value in {**BASE, **changed}.items() if value is not None}


EXTENSION = BASE[ENTERPRISE]
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    # section 3.5.2.1: add
    "add to a single value replaces it": (op("add", "title", "CEO"), with_(title="CEO")),
    "add of what is not there": (op("add", "nickName", "Babs"), with_(nickName="Babs")),
    "add to a part": (op("add", "name.middleName", "J"), with_(name={**BASE["name"], "middleName": "J"})),
    "add to a complex value merges": (
        op("add", "name", {"givenName": "B", "middleName": "J"}),
        with_(name={"familyName": "Jensen", "givenName": "B", "middleName": "J"}),
    ),
    "add to many values appends": (
        op("add", "emails", [{"value": "o@x.org", "type": "other"}]),
        with_(emails=[WORK, HOME, {"value": "o@x.org", "type": "other"}]),
    ),
    "add of one object to many values": (
        op("add", "emails", {"value": "o@x.org"}), with_(emails=[WORK, HOME, {"value": "o@x.org"}]),
    ),
    "add of a value that is there changes nothing": (op("add", "emails", [HOME]), BASE),
    "add of a single value that is there changes nothing": (op("add", "title", "VP"), BASE),
    "add of a primary value makes the other one not primary": (
        op("add", "emails", [{"value": "o@x.org", "primary": True}]),
        with_(emails=[{**WORK, "primary": False}, HOME, {"value": "o@x.org", "primary": True}]),
    ),
    "add of a known value with more parts": (
        op("add", "emails", [{**HOME, "display": "Home"}]), with_(emails=[WORK, {**HOME, "display": "Home"}]),
    ),
    "add at a filter that matches": (
        op("add", 'emails[type eq "home"].display', "Home"), with_(emails=[WORK, {**HOME, "display": "Home"}]),
    ),
    "add of an object at a filter that matches merges": (
        op("add", 'emails[type eq "home"]', {"display": "Home"}), with_(emails=[WORK, {**HOME, "display": "Home"}]),
    ),
    "add at a filter that matches nothing creates the value": (
        op("add", 'emails[type eq "other"].value', "o@x.org"),
        with_(emails=[WORK, HOME, {"value": "o@x.org", "type": "other"}]),
    ),
    "add of an object at a filter that matches nothing": (
        op("add", 'phoneNumbers[type eq "work" and primary eq true]', {"value": "1"}),
        with_(phoneNumbers=[{"value": "1", "type": "work", "primary": True}]),
    ),
    "add without a path": (
        op("add", None, {"nickName": "Babs", "emails": [{"value": "o@x.org"}]}),
        with_(nickName="Babs", emails=[WORK, HOME, {"value": "o@x.org"}]),
    ),
    "add of an extension": (
        op("add", ENTERPRISE, {"division": "D"}), with_(**{ENTERPRISE: {"division": "D", **EXTENSION}}),
    ),
    "add of a qualified name": (
        op("add", f"{ENTERPRISE}:costCenter", "4130"), with_(**{ENTERPRISE: {"costCenter": "4130", **EXTENSION}}),
    ),
    "add of a name qualified by the core schema": (op("add", f"{USER}:title", "CEO"), with_(title="CEO")),
    "add of null removes": (op("add", "title", None), with_(title=None)),
    # section 3.5.2.2: remove
    "remove a single value": (op("remove", "title"), with_(title=None)),
    "remove what is not there": (op("remove", "nickName"), BASE),
    "remove a part": (op("remove", "name.givenName"), with_(name={"familyName": "Jensen"})),
    "remove a complex value": (op("remove", "name"), with_(name=None)),
    "remove all values": (op("remove", "emails"), with_(emails=None)),
    "remove by a filter": (op("remove", 'emails[type eq "work"]'), with_(emails=[HOME])),
    "remove by a filter of several terms": (
        op("remove", 'emails[type eq "work" and value ew "X.org"]'), with_(emails=[HOME]),
    ),
    "remove by a filter that matches nothing": (op("remove", 'emails[type eq "fax"]'), BASE),
    "remove by a filter all that there are": (op("remove", "emails[value pr]"), with_(emails=None)),
    "remove the only part of a value": (op("remove", "x509Certificates.value"), with_(x509Certificates=None)),
    "remove a part by a filter": (
        op("remove", 'emails[type eq "work"].primary'), with_(emails=[{"value": "w@x.org", "type": "work"}, HOME]),
    ),
    "remove the values in a list": (op("remove", "emails", [{"value": "h@x.org"}]), with_(emails=[WORK])),
    "remove an extension": (op("remove", ENTERPRISE), with_(**{ENTERPRISE: None})),
    "remove a part of an extension": (
        op("remove", f"{ENTERPRISE}:manager"), with_(**{ENTERPRISE: {"department": "Eng"}}),
    ),
    "remove a part of a part of an extension": (
        op("remove", f"{ENTERPRISE}:manager.$ref"), with_(**{ENTERPRISE: {**EXTENSION, "manager": {"value": "7"}}}),
    ),
    # section 3.5.2.3: replace
    "replace a single value": (op("replace", "title", "CEO"), with_(title="CEO")),
    "replace what is not there adds it": (op("replace", "nickName", "Babs"), with_(nickName="Babs")),
    "replace a part": (op("replace", "name.givenName", "B"), with_(name={**BASE["name"], "givenName": "B"})),
    "replace a complex value keeps what is not named": (
        op("replace", "name", {"givenName": "B"}), with_(name={"familyName": "Jensen", "givenName": "B"}),
    ),
    "replace a complex value removes what is null": (
        op("replace", "name", {"givenName": None}), with_(name={"familyName": "Jensen"}),
    ),
    "replace all values": (op("replace", "emails", [HOME]), with_(emails=[HOME])),
    "replace all values by none": (op("replace", "emails", []), with_(emails=None)),
    "replace by a filter": (
        op("replace", 'emails[type eq "work"]', {"value": "n@x.org"}), with_(emails=[{"value": "n@x.org"}, HOME]),
    ),
    "replace a part by a filter": (
        op("replace", 'emails[type eq "WORK"].value', "n@x.org"), with_(emails=[{**WORK, "value": "n@x.org"}, HOME]),
    ),
    "replace a part of all that match": (
        op("replace", "emails[value pr].display", "E"),
        with_(emails=[{"value": "w@x.org", "display": "E", "type": "work", "primary": True},
                      {"value": "h@x.org", "display": "E", "type": "home"}]),
    ),
    "replace a part of each value": (
        op("replace", "emails.type", "other"), with_(emails=[{**WORK, "type": "other"}, {**HOME, "type": "other"}]),
    ),
    "replace makes another value primary": (
        op("replace", 'emails[type eq "home"].primary', True),
        with_(emails=[{**WORK, "primary": False}, {**HOME, "primary": True}]),
    ),
    "replace without a path": (
        op("replace", None, {"title": "CEO", "name": {"givenName": "B"}, "emails": [HOME]}),
        with_(title="CEO", name={"familyName": "Jensen", "givenName": "B"}, emails=[HOME]),
    ),
    "replace without a path, with paths as names": (
        op("replace", None, {"name.givenName": "B", f"{ENTERPRISE}:department": "Ops",
                             'emails[type eq "home"].value': "n@x.org"}),
        with_(name={"familyName": "Jensen", "givenName": "B"}, emails=[WORK, {**HOME, "value": "n@x.org"}],
              **{ENTERPRISE: {**EXTENSION, "department": "Ops"}}),
    ),
    "replace of null removes": (op("replace", "title", None), with_(title=None)),
    "a reference is selected in its case": (
        op("remove", 'photos[value eq "https://x.org/A"]'), with_(photos=None),
    ),
    "a reference in another case is not selected": (op("remove", 'photos[value eq "https://x.org/a"]'), BASE),
    # what clients send
    "op in any case": (op("Replace", "title", "CEO"), with_(title="CEO")),
    "names in any case": (op("replace", "NAME.givenname", "B"), with_(name={**BASE["name"], "givenName": "B"})),
    "a boolean as a string": (op("replace", "active", "False"), with_(active=False)),
    "a manager as a bare id": (
        op("add", f"{ENTERPRISE}:manager", "8"),
        with_(**{ENTERPRISE: {"department": "Eng", "manager": {"value": "8"}}}),
    ),
    "a manager in a list": (
        op("replace", f"{ENTERPRISE}:manager", [{"value": "8"}]),
        with_(**{ENTERPRISE: {"department": "Eng", "manager": {"value": "8"}}}),
    ),
    "an unknown name without a path is ignored": (op("replace", None, {"foo": 1, "title": "CEO"}), with_(title="CEO")),
    "an unknown URN without a path is ignored": (op("add", None, {"urn:x:2.0:Y": {"a": 1}, "urn:x:a": 1}), BASE),
    "read-only names without a path are ignored": (
        op("replace", None, {"id": "9", "meta": {}, "schemas": [], "groups": [], "title": "CEO"}), with_(title="CEO"),
    ),
    "a password is discarded": (op("replace", "password", "secret"), BASE),
    "the schemas follow by themselves": (op("add", "schemas", [ENTERPRISE]), BASE),
    "an empty path is none": (op("replace", "", {"title": "CEO"}), with_(title="CEO")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operation_has_the_result_that_section_3_5_2_describes(case: str) -> None:
    operation, expected = CASES[case]
    before = deepcopy(BASE)
    assert after(operation) == expected
    assert before == BASE, "the resource itself is not changed"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "remove without a path": (op("remove"), "noTarget"),
    "remove without a path, with a value": (op("remove", None, {"title": "VP"}), "noTarget"),
    "replace at a filter that matches nothing": (op("replace", 'emails[type eq "fax"].value', "x"), "noTarget"),
    "replace of a whole value that no filter matches": (op("replace", 'ims[type eq "x"]', {"value": "x"}), "noTarget"),
    "an unknown attribute": (op("replace", "foo", "x"), "invalidPath"),
    "an unknown part": (op("replace", "name.foo", "x"), "invalidPath"),
    "a part of a part that has none": (op("replace", "title.foo", "x"), "invalidPath"),
    "an unknown part behind a filter": (op("replace", 'emails[type eq "work"].foo', "x"), "invalidPath"),
    "an unknown part in a filter": (op("remove", 'emails[foo eq "x"]'), "invalidPath"),
    "an unknown part beside a known one": (op("remove", 'emails[type eq "work" or foo pr]'), "invalidPath"),
    "a filter on a simple attribute": (op("replace", 'title[value eq "x"]', "x"), "invalidPath"),
    "a bracket that is not closed": (op("replace", 'emails[type eq "work"', "x"), "invalidPath"),
    "something behind the bracket": (op("replace", 'emails[type eq "work"]value', "x"), "invalidPath"),
    "a path that is no string": (op("replace", None, 1) | {"path": 5}, "invalidPath"),
    "an unknown URN": (op("replace", "urn:x:2.0:Y:a", "x"), "invalidPath"),
    "a read-only attribute": (op("replace", "id", "9"), "mutability"),
    "a read-only part": (op("add", "meta.created", "x"), "mutability"),
    "the groups": (op("add", "groups", [{"value": "1"}]), "mutability"),
    "the manager's name": (op("replace", f"{ENTERPRISE}:manager.displayName", "x"), "mutability"),
    "a required attribute removed": (op("remove", "userName"), "mutability"),
    "a required attribute emptied": (op("replace", "userName", " "), "mutability"),
    "no value": (op("add", "title"), "invalidValue"),
    "a boolean that is none": (op("replace", "active", "maybe"), "invalidValue"),
    "a string that is an object": (op("replace", "title", {"a": 1}), "invalidValue"),
    "a string that is true": (op("replace", "title", True), "invalidValue"),
    "a string with NUL": (op("replace", "title", "a\0"), "invalidValue"),
    "a complex value that is a string": (op("replace", "name", "Barbara"), "invalidValue"),
    "no object without a path": (op("replace", None, "x"), "invalidValue"),
    "two primary values": (
        op("replace", "emails", [WORK, {"value": "x", "primary": True}]), "invalidValue",
    ),
    "an unknown operation": (op("move", "title", "x"), "invalidSyntax"),
    "no operation": ({"path": "title"}, "invalidSyntax"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_impossible_operation_is_refused_with_its_scim_type(case: str) -> None:
    operation, scim_type = REFUSED[case]
    with pytest.raises(Refused) as refused:
        after(op("replace", "title", "CEO"), operation)
    assert refused.value.scim_type == scim_type


def test_a_malformed_filter_in_a_path_is_refused() -> None:
    with pytest.raises(Malformed):
        operations(op("replace", "emails[type is 5].value", "x"))


@pytest.mark.parametrize("body", [None, [], "x", {}, {"Operations": []}, {"Operations": {}}, {"Operations": [1]}])
def test_a_body_without_operations_is_refused(body: Any) -> None:
    with pytest.raises(Refused) as refused:
        operations_in(body, USERS, strict=False)
    assert refused.value.scim_type == "invalidSyntax"


def test_operations_apply_one_after_the_other() -> None:
    result = after(
        op("remove", "emails"),
        op("add", "emails", [HOME]),
        op("replace", 'emails[type eq "home"].value', "n@x.org"),
        op("add", 'emails[value eq "n@x.org"].primary', True),
    )
    assert result["emails"] == [{**HOME, "value": "n@x.org", "primary": True}]


values = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["", "a", "true", "work"]) | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["value", "type", "primary", "givenName", "title", "emails", "x"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)
paths = st.sampled_from([
    None, "title", "name", "name.givenName", "emails", "emails.type", 'emails[type eq "work"]', "active", "x", "id",
    'emails[not (type eq "x")].primary', "emails[value pr].value", ENTERPRISE, f"{ENTERPRISE}:manager", "userName",
])  # fmt: skip
any_operation = st.builds(op, st.sampled_from(["add", "remove", "replace", "Add"]), paths, values)


@settings(max_examples=400, deadline=None)
@given(st.lists(any_operation, min_size=1, max_size=4))
def test_any_patch_is_applied_or_refused_and_leaves_a_valid_resource(given: Any) -> None:
    before = deepcopy(BASE)
    try:
        result = after(*given)
    except Refused:
        return
    finally:
        assert before == BASE
    assert result["userName"]
    for name, value in result.items():
        assert value not in (None, {}, []), name
        if isinstance(value, list):
            assert sum(each.get("primary") is True for each in value) <= 1, name

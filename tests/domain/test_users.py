"""The rules of a valid user."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import Invalid
from domain.lists.pages import Page
from domain.users import EMAIL, EXTERNAL_ID, NAME, USERNAME, NewUser, Status, User

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ALICE = User(
    id=1,
    name="Alice",
    created_at=NOW,
    updated_at=NOW,
    version=3,
    email="alice@example.org",
    username="alice",
    external_id="a-1",
    status=Status.SUSPENDED,
    attributes={"team": {"name": "red", "size": 3}},
)


def faults_of(invalid: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in invalid.value.faults]


def test_the_name_is_kept_trimmed_and_the_keys_as_typed() -> None:
    new = NewUser(name=" Alice\u3000", email=" Alice@Example.org ", username="ALICE", external_id=" x ")
    assert (new.name, new.email, new.username, new.external_id) == ("Alice", " Alice@Example.org ", "ALICE", " x ")


def test_a_status_can_be_given_as_text() -> None:
    new = NewUser(name="Alice", status="suspended")  # type: ignore[arg-type]
    assert new.status is Status.SUSPENDED


def test_an_invalid_user_reports_every_broken_rule_at_once() -> None:
    with pytest.raises(Invalid) as invalid:
        NewUser(name=" ", email="", username="\x00", external_id="x" * 256, status="gone", attributes=[])  # type: ignore[arg-type]
    assert faults_of(invalid) == [
        ("/name", "too_short"),
        ("/email", "too_short"),
        ("/username", "forbidden_character"),
        ("/external_id", "too_long"),
        ("/status", "not_allowed"),
        ("/attributes", "wrong_type"),
    ]


@pytest.mark.parametrize("value", [None, 7, True, [], {}])
def test_an_invalid_name_is_refused(value: Any) -> None:
    with pytest.raises(Invalid) as invalid:
        NewUser(name=value)
    assert faults_of(invalid) == [("/name", "wrong_type")]


@pytest.mark.parametrize("value", [None, 7, [], {}, "ACTIVE", ""])
def test_an_invalid_status_is_refused(value: Any) -> None:
    with pytest.raises(Invalid) as invalid:
        NewUser(name="Alice", status=value)
    assert faults_of(invalid) == [("/status", "not_allowed")]


@pytest.mark.parametrize(
    ("field", "longest"),
    [("name", NAME.max), ("email", EMAIL.max), ("username", USERNAME.max), ("external_id", EXTERNAL_ID.max)],
)
def test_the_longest_text_is_accepted_and_a_longer_one_refused(field: str, longest: int) -> None:
    fields: dict[str, Any] = {"name": "Alice"}
    NewUser(**{**fields, field: "x" * longest})
    with pytest.raises(Invalid) as invalid:
        NewUser(**{**fields, field: "x" * (longest + 1)})
    assert faults_of(invalid) == [(f"/{field}", "too_long")]


def test_no_message_repeats_the_rejected_value() -> None:
    with pytest.raises(Invalid) as invalid:
        NewUser(name="\x00secret", email="secret" * 99, status="secret", attributes={"a": "secret\x00"})  # type: ignore[arg-type]
    assert not any("secret" in fault.detail for fault in invalid.value.faults)


def test_revised_changes_only_the_profile() -> None:
    revised = ALICE.revised(name="  Bob ", email=None)
    assert (revised.name, revised.email) == ("Bob", None)
    assert (revised.id, revised.version, revised.created_at, revised.updated_at) == (1, 3, NOW, NOW)
    assert (revised.username, revised.status, revised.attributes) == ("alice", Status.SUSPENDED, ALICE.attributes)


@pytest.mark.parametrize("field", ["id", "version", "created_at", "updated_at", "deleted_at", "nope", "a/b"])
def test_revising_a_field_outside_the_profile_is_refused(field: str) -> None:
    with pytest.raises(Invalid) as invalid:
        ALICE.revised(**{field: 1})
    assert faults_of(invalid) == [(f"/{field.replace('/', '~1')}", "unknown")]


def test_a_patch_keeps_fields_that_it_does_not_name() -> None:
    assert ALICE.patched({}) == ALICE


def test_null_clears_a_field() -> None:
    patched = ALICE.patched({"email": None, "username": None, "external_id": None, "status": None, "attributes": None})
    assert (patched.email, patched.username, patched.external_id) == (None, None, None)
    assert (patched.status, patched.attributes) == (Status.ACTIVE, {})


def test_null_does_not_clear_the_name() -> None:
    with pytest.raises(Invalid) as invalid:
        ALICE.patched({"name": None})
    assert faults_of(invalid) == [("/name", "wrong_type")]


def test_a_patch_merges_attributes_at_every_depth() -> None:
    patched = ALICE.patched({"attributes": {"team": {"size": None, "lead": "Carol"}, "tags": [1]}})
    assert patched.attributes == {"team": {"name": "red", "lead": "Carol"}, "tags": [1]}
    assert ALICE.attributes == {"team": {"name": "red", "size": 3}}


def test_a_patch_with_attributes_that_are_not_an_object_is_refused() -> None:
    with pytest.raises(Invalid) as invalid:
        ALICE.patched({"attributes": [1]})
    assert faults_of(invalid) == [("/attributes", "wrong_type")]


def test_a_patch_of_an_unknown_field_is_refused_even_if_it_clears() -> None:
    with pytest.raises(Invalid) as invalid:
        ALICE.patched({"nope": None})
    assert faults_of(invalid) == [("/nope", "unknown")]


def test_a_deleted_user_keeps_its_values() -> None:
    tombstone = ALICE.deleted(NOW)
    assert tombstone.deleted_at == NOW
    assert (tombstone.email, tombstone.version) == (ALICE.email, ALICE.version)


@pytest.mark.parametrize(
    ("items", "limit", "kept", "more"),
    [([], 2, [], False), ([1, 2], 2, [1, 2], False), ([1, 2, 3], 2, [1, 2], True)],
)
def test_a_page_knows_whether_more_follows(items: list[int], limit: int, kept: list[int], more: bool) -> None:
    assert Page.of(items, limit) == Page(kept, more=more)


def test_each_user_with_cleared_attributes_has_its_own_empty_object() -> None:
    new = NewUser(name="Alice", attributes={"a": 1})
    alice = User(id=1, created_at=NOW, updated_at=NOW, version=1, name=new.name, attributes=new.attributes)
    one, other = alice.patched({"attributes": None}), alice.patched({"attributes": None})

    assert one.attributes == other.attributes == {}
    assert one.attributes is not other.attributes

"""The record that SCIM keeps of a user, and how it agrees with the user's fields."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.scim import chosen_among, email_of, name_of, readdressed, renamed
from domain.users import NewUser, User
from domain.values import JsonObject

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORK, HOME = {"value": "work@x", "type": "work"}, {"value": "home@x", "type": "home"}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"displayName": " Alice "}, "Alice"),
        ({"displayName": " ", "name": {"formatted": "Ms. Alice"}}, "Ms. Alice"),
        ({"name": {"givenName": "Alice", "familyName": "Ames"}}, "Alice Ames"),
        ({"name": {"givenName": "Alice"}}, "Alice"),
        ({"name": {"familyName": "Ames"}}, "Ames"),
        ({"name": {}}, "alice"),
        ({}, "alice"),
        ({"displayName": "A" * 9 + " B"}, "A" * 9),
    ],
)
def test_the_name_is_the_first_that_is_not_blank_or_the_username(record: JsonObject, name: str) -> None:
    assert name_of(record, "alice", 10) == name


def test_the_email_is_the_primary_one_or_the_first() -> None:
    assert email_of({"emails": [WORK, {**HOME, "primary": True}]}) == "home@x"
    assert email_of({"emails": [WORK, {**HOME, "primary": False}]}) == "work@x"
    assert email_of({"emails": [WORK, {**HOME, "primary": "true"}]}) == "work@x"
    for emails in (None, [], [{"value": " "}], [{"type": "work"}]):
        assert email_of({"emails": emails}) is None
    assert email_of({}) is None
    assert chosen_among(None) is None


def test_a_new_name_becomes_the_display_name() -> None:
    assert renamed({"title": "Ms.", "displayName": "Alice"}, "Alicia") == {"title": "Ms.", "displayName": "Alicia"}


def test_a_new_email_replaces_the_primary_one() -> None:
    record: Any = {"title": "Ms.", "emails": [WORK, {**HOME, "primary": True}]}
    assert readdressed(record, "new@x") == {
        "title": "Ms.",
        "emails": [WORK, {"value": "new@x", "type": "home", "primary": True}],
    }
    assert readdressed(record, None) == {"title": "Ms.", "emails": [WORK]}
    assert readdressed({"title": "Ms.", "emails": [WORK]}, None) == {"title": "Ms."}
    assert readdressed({"title": "Ms."}, "new@x") == {"title": "Ms.", "emails": [{"value": "new@x", "primary": True}]}
    assert readdressed({"title": "Ms."}, None) == {"title": "Ms."}


RECORD: JsonObject = {"displayName": "Alice", "emails": [{"value": "alice@x"}]}


def user(**given: Any) -> User:
    profile = {"name": "Alice", "email": "alice@x", "scim": RECORD, **given}
    return User(id=1, created_at=NOW, updated_at=NOW, version=1, **profile)


def test_the_scim_record_follows_the_replaced_fields() -> None:
    same = user().replaced(NewUser(name="Alice", email="alice@x"))
    assert same.scim == RECORD
    other = user().replaced(NewUser(name="Alicia", email="alicia@x"))
    assert (other.name, other.email) == ("Alicia", "alicia@x")
    assert other.scim == {"displayName": "Alicia", "emails": [{"value": "alicia@x"}]}
    nobody = user().replaced(NewUser(name="Alice"))
    assert nobody.scim == {"displayName": "Alice"}


def test_a_scim_record_that_agrees_with_the_fields_is_not_changed() -> None:
    record: JsonObject = {"name": {"formatted": "Alice Ames"}, "emails": [{"value": "ames@x"}]}
    agreeing = user(scim=record).replaced(NewUser(name="Alice Ames", email="ames@x"))
    assert agreeing.scim == record


def test_a_put_with_a_scim_record_replaces_it_and_a_user_without_one_stays_without() -> None:
    new: JsonObject = {"displayName": "Other"}
    assert user().replaced(NewUser(name="Alicia", scim=new)).scim == new
    assert user(scim=None).replaced(NewUser(name="Alicia")).scim is None
    kept = user().replaced(NewUser(name="Alicia", email="alice@x", scim=dict(RECORD)))
    assert kept.scim == {**RECORD, "displayName": "Alicia"}

"""What a save writes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.users import User
from repositories.users import USERS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = User(id=7, name="Alice", email="Alice@x", created_at=NOW, updated_at=NOW, version=3, attributes={"floor": 1})


def test_a_save_writes_the_columns_of_the_fields_that_differ() -> None:
    later = replace(ALICE, name="Alicia", updated_at=NOW + timedelta(1), version=4)

    assert USERS.differing(ALICE, later) == {
        "name": "Alicia",
        "name_key": "alicia",
        "updated_at": NOW + timedelta(1),
        "version": 4,
    }


def test_a_cleared_field_is_written_together_with_its_key_column() -> None:
    assert USERS.differing(ALICE, replace(ALICE, email=None)) == {"email": None, "email_key": None}


def test_json_values_that_python_compares_as_equal_are_still_written() -> None:
    assert USERS.differing(ALICE, replace(ALICE, attributes={"floor": True})) == {"attributes": {"floor": True}}


def test_a_save_may_write_all_but_the_id() -> None:
    fields = {each.name for each in USERS.columns} - {"id"}
    assert USERS.values_of(ALICE).keys() == fields | {"name_key", "email_key", "username_key", "scim_key"}

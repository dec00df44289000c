"""Entities made from rows equal those that calling their class makes."""

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime

import pytest

from domain.users import Status, User
from repositories.tables.rows import maker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = User(
    id=7,
    name="Alice",
    created_at=NOW,
    updated_at=NOW,
    version=3,
    email="a@b",
    external_id="hr-1",
    status=Status.SUSPENDED,
    attributes={"floor": 3},
)
VALUES = tuple(getattr(ALICE, each.name) for each in fields(ALICE))


def test_an_entity_from_a_row_equals_one_made_by_its_class() -> None:
    made = maker(User)(*VALUES)

    assert type(made) is User
    assert made == ALICE
    assert [getattr(made, each.name) for each in fields(made)] == list(VALUES)


def test_an_entity_from_a_row_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        maker(User)(*VALUES).name = "Bob"  # type: ignore[misc]


def test_an_entity_from_some_fields_has_no_others_and_is_frozen() -> None:
    made = maker(User, {"name", "id"})("Alice", 7, "what the rows of lists have behind it")
    assert (type(made), made.id, made.name) == (User, 7, "Alice")
    with pytest.raises(AttributeError):
        made.email  # noqa: B018
    with pytest.raises(FrozenInstanceError):
        made.name = "Bob"  # type: ignore[misc]


def test_a_row_that_is_too_short_raises() -> None:
    with pytest.raises(TypeError):
        maker(User)(*VALUES[:-1])

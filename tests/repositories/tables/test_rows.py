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


def test_an_additional_value_which_the_rows_of_lists_have_is_ignored() -> None:
    assert maker(User)(*VALUES, 42) == ALICE


def test_a_row_that_is_too_short_raises() -> None:
    with pytest.raises(TypeError):
        maker(User)(*VALUES[:-1])

"""How entities are shown."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

import pytest
from fastapi.exceptions import RequestValidationError

from api.bodies.users import NAMES
from api.web.entities import Shown
from domain.entities import Editable, Entity
from domain.users import Status, User
from domain.values import Text

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
USERS: Final = Shown(User, NAMES)


def user(**fields: Any) -> User:
    return User(id=1, created_at=NOW, updated_at=NOW, version=2, **{"name": "Alice", **fields})


BOOKKEEPING: Final = {"id": 1, "created_at": NOW, "updated_at": NOW, "deleted_at": None, "version": 2}
EVERYTHING: Final[dict[str, Any]] = {
    "name": "Alice",
    "email": "a@b.c",
    "username": "alice",
    "external_id": "x",
    "status": Status.SUSPENDED,
    "attributes": {"floor": 3},
}


def test_an_entity_is_shown_with_its_id_and_its_assigned_fields_by_default() -> None:
    show = USERS.by(None)

    assert show(user()) == {"id": 1, "name": "Alice"}
    assert show(user(**EVERYTHING)) == {"id": 1, **EVERYTHING}


def test_default_values_are_left_out_and_empty_values_are_shown() -> None:
    shown = USERS.by(None)(user(status=Status.ACTIVE, email=None, attributes={}, external_id=""))

    assert shown == {"id": 1, "name": "Alice", "external_id": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTeam:
    name: Annotated[str, Text(max=20)]
    motto: Annotated[str, Text(max=20)] = "Onward"
    lead: Annotated[str | None, Text(max=20)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Team(NewTeam, Entity, Editable):
    kind: ClassVar[str] = "team"
    created_from: ClassVar[type] = NewTeam

    id: int
    updated_at: datetime
    version: int


def test_a_default_value_is_that_of_the_profile() -> None:
    show = Shown(Team, ("id", "name", "motto", "lead")).by(None)

    assert show(Team(id=1, name="A", updated_at=NOW, version=1)) == {"id": 1, "name": "A"}
    other = Team(id=1, name="", motto="Back", lead="Bob", updated_at=NOW, version=1)
    assert show(other) == {"id": 1, "name": "", "motto": "Back", "lead": "Bob"}


def test_requested_fields_are_shown_whatever_their_values() -> None:
    each = user()

    assert USERS.by("email, id")(each) == {"email": None, "id": 1}
    assert USERS.by("*")(each) == {**dict.fromkeys(EVERYTHING), **BOOKKEEPING, "name": "Alice", "status": "active",
                                   "attributes": {}}  # fmt: skip
    assert tuple(USERS.by("*")(each)) == NAMES


@pytest.mark.parametrize("fields", ["", "id,", "id,nmae", "*,id", "ID"])
def test_an_unknown_field_is_refused_before_anything_is_shown(fields: str) -> None:
    with pytest.raises(RequestValidationError) as refused:
        USERS.by(fields)

    assert [each["loc"] for each in refused.value.errors()] == [("query", "fields")]

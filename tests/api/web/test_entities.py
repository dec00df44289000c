"""How entities are shown where a noun says nothing of it: the id, and what is not at its default."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

import pytest
from fastapi.exceptions import RequestValidationError

from api.users import NAMES, sparse
from api.web.entities import Shown
from domain.entities import Editable, Entity
from domain.users import Status, User
from domain.values import Attributes, JsonObject, Text

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEPT: Final[dict[str, Any]] = {"id": 7, "created_at": NOON, "updated_at": NOON, "version": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteProfile:
    text: Annotated[str, Text(max=9)]
    color: Annotated[str, Text(max=9)] = "white"
    pinned_by: Annotated[str | None, Text(max=9)] = None
    labels: Annotated[JsonObject, Attributes()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(NoteProfile, Entity, Editable):
    kind: ClassVar[str] = "note"
    created_from: ClassVar[type] = NoteProfile

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


SHOWN: Final = Shown(Note, ("id", "text", "color", "version"))


def note(**profile: Any) -> Note:
    return Note(**{"text": "milk", "labels": {}, **KEPT, **profile})


def test_shows_the_id_and_what_is_not_at_its_default() -> None:
    assert SHOWN.by(None)(note(color="white")) == {"id": 7, "text": "milk", "labels": {}}
    assert SHOWN.by(None)(note(color="red", pinned_by="bob")) == {
        "id": 7, "text": "milk", "color": "red", "pinned_by": "bob", "labels": {},
    }  # fmt: skip


def test_shows_a_field_without_a_default_whatever_its_value() -> None:
    assert SHOWN.by(None)(note(text="")) == {"id": 7, "text": "", "labels": {}}


def test_shows_the_fields_in_their_order() -> None:
    assert list(SHOWN.by(None)(note(pinned_by="bob", color="red"))) == ["id", "text", "color", "pinned_by", "labels"]


def test_shows_no_bookkeeping_unless_it_is_asked_for() -> None:
    assert not {"version", "created_at", "updated_at"} & SHOWN.by(None)(note()).keys()
    assert SHOWN.by("version,id")(note()) == {"version": 3, "id": 7}
    assert SHOWN.by("*")(note()) == {"id": 7, "text": "milk", "color": "white", "version": 3}


def test_an_unknown_field_is_refused_before_anything_is_shown() -> None:
    with pytest.raises(RequestValidationError):
        SHOWN.by("labels")


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"email": "a@b.c"},
        {"username": "alice", "external_id": "x"},
        {"status": Status.SUSPENDED},
        {"attributes": {"a": None}, "status": Status.ACTIVE},
        {"email": "a@b.c", "username": "u", "external_id": "x", "status": Status.SUSPENDED, "attributes": {"a": 1}},
    ],
)
def test_users_are_shown_so_too(profile: dict[str, Any]) -> None:
    """Users have a function of their own, which is faster."""
    user = User(name="Alice", **profile, **KEPT)

    assert Shown(User, NAMES).by(None)(user) == sparse(user)
    assert list(Shown(User, NAMES).by(None)(user)) == list(sparse(user))

"""The fields of an entity as lists see them, read from its annotations."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import pytest

from domain.changes import FIELDS as CHANGE_FIELDS
from domain.lists.fields import ID, Field, Kind, declare, fields_of
from domain.users import FIELDS as USER_FIELDS
from domain.values import Attributes, Id, JsonObject, OneOf, Text

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    id: int
    made_at: datetime
    lost_at: datetime | None = None
    colour: Annotated[Colour, OneOf(Colour)] = Colour.RED
    name: Annotated[str, Text(max=9, folds=True)]
    alias: Annotated[str | None, Text(max=9, folds=True)] = None
    code: Annotated[str, Text(max=9)]
    note: Annotated[str | None, Text(max=9)] = None
    owner_id: Annotated[int | None, Id()] = None
    more: Annotated[JsonObject, Attributes()]


def test_the_annotation_decides_how_a_field_compares_and_whether_it_is_optional() -> None:
    assert fields_of(Thing) == declare(
        Field("id", Kind.INTEGER),
        Field("made_at", Kind.INSTANT),
        Field("lost_at", Kind.INSTANT, optional=True),
        Field("colour", Kind.EXACT),
        Field("name", Kind.FOLDED),
        Field("alias", Kind.FOLDED, optional=True),
        Field("code", Kind.EXACT),
        Field("note", Kind.EXACT, optional=True),
        Field("owner_id", Kind.INTEGER, optional=True),
        Field("more", Kind.JSON, sorts=False),
    )


def test_an_entity_can_leave_out_fields_and_exclude_others_from_sorting() -> None:
    declared = fields_of(Thing, without={"lost_at", "more"}, unsorted={"note"})
    assert list(declared) == ["id", "made_at", "colour", "name", "alias", "code", "note", "owner_id"]
    assert [each.name for each in declared.values() if not each.sorts] == ["note"]


def test_users_have_these_fields() -> None:
    assert {field.name: (field.kind, field.optional, field.sorts) for field in USER_FIELDS.values()} == {
        "id": (Kind.INTEGER, False, True),
        "created_at": (Kind.INSTANT, False, True),
        "updated_at": (Kind.INSTANT, False, True),
        "version": (Kind.INTEGER, False, False),
        "name": (Kind.FOLDED, False, True),
        "email": (Kind.FOLDED, True, True),
        "username": (Kind.FOLDED, True, True),
        "external_id": (Kind.EXACT, True, True),
        "status": (Kind.EXACT, False, True),
        "attributes": (Kind.JSON, False, False),
        "groups": (Kind.IDS, False, False),
    }
    assert USER_FIELDS["id"] == ID


def test_changes_have_these_fields() -> None:
    assert {field.name: field.kind for field in CHANGE_FIELDS.values()} == {
        "seq": Kind.INTEGER,
        "kind": Kind.EXACT,
        "entity_id": Kind.INTEGER,
        "version": Kind.INTEGER,
        "action": Kind.EXACT,
        "actor": Kind.EXACT,
        "request_id": Kind.EXACT,
        "at": Kind.INSTANT,
    }
    assert not any(field.optional for field in CHANGE_FIELDS.values())


@pytest.mark.parametrize(
    ("name", "key"),
    [("name", "straße"), ("alias", None), ("code", " A "), ("id", 0), ("made_at", NOON), ("colour", "red")],
)
def test_an_entity_is_compared_by_the_folded_form_of_its_value(name: str, key: object) -> None:
    thing = Thing(id=0, made_at=NOON, name=" STRAßE ", code=" A ", more={})
    folded = "strasse" if name == "name" else key
    assert fields_of(Thing)[name].key_in(thing) == folded


@dataclass(frozen=True)
class Holder:
    document: JsonObject


FAMILY = Field("document", Kind.FOLDED, optional=True, sorts=True, path=("name", "family"))


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"name": {"family": "Ürün"}}, "ürün"),
        ({"name": {"family": 7}}, None),
        ({"name": {"family": ["A"]}}, None),
        ({"name": {"family": None}}, None),
        ({"name": "A"}, None),
        ({}, None),
        ({"name": [{"family": "B"}, {"family": "A"}]}, "b"),
        ({"name": [{"family": "B"}, {"family": "A", "primary": True}]}, "a"),
        ({"name": [{"family": "B"}, {"family": "A", "primary": "true"}]}, "b"),
        ({"name": [{"family": 7}, {"family": "A"}]}, None),
        ({"name": ["A", {"family": "B"}]}, "b"),
        ({"name": []}, None),
    ],
)
def test_a_field_of_a_document_compares_by_its_string_or_by_the_primary_of_many_values(
    document: JsonObject, key: str | None
) -> None:
    assert FAMILY.key_in(Holder(document)) == key


def test_a_folded_document_has_all_strings_folded_except_the_exact_ones() -> None:
    field = Field("document", Kind.FOLDED_JSON, exact=frozenset({("code",), ("phones", "code")}))
    document: JsonObject = {
        "code": "X",
        "name": "X",
        "sizes": [1, 1.5, True, None, "X"],
        "phones": [{"code": "X", "type": "Work"}, "X"],
    }
    assert field.key_in(Holder(document)) == {
        "code": "X",
        "name": "x",
        "sizes": [1, 1.5, True, None, "x"],
        "phones": [{"code": "X", "type": "work"}, "x"],
    }
    assert document["name"] == "X"

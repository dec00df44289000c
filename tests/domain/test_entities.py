"""How one entity is made from another by the rules of its fields."""

from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import pytest

from domain.entities import Deletable, Editable, Entity, check, profile_of
from domain.errors import Invalid
from domain.keys import Key, NewKey
from domain.references import Reference, Then
from domain.users import NewUser, User
from domain.values import Attributes, Id, JsonObject, Text
from domain.work import RequestContext, utc_now

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingProfile:
    name: Annotated[str, Text(max=5, trims=True)]
    owner_id: Annotated[int | None, Id()] = None
    size: Annotated[int, Id()] = 3
    more: Annotated[JsonObject, Attributes()] = field(default_factory=lambda: {"a": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewThing(ThingProfile):
    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing(ThingProfile, Entity, Editable):
    kind: ClassVar[str] = "thing"
    created_from: ClassVar[type] = NewThing

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


THING = Thing(id=1, name="Anvil", created_at=NOW, updated_at=NOW, version=1, owner_id=7, size=9, more={"b": {"c": 2}})


def faults_of(invalid: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in invalid.value.faults]


def test_a_new_entity_is_held_to_the_rules_of_its_annotations() -> None:
    with pytest.raises(Invalid) as invalid:
        NewThing(name="Hammer", owner_id=0, size=None, more=[])  # type: ignore[arg-type]
    assert faults_of(invalid) == [
        ("/name", "too_long"),
        ("/owner_id", "out_of_range"),
        ("/size", "wrong_type"),
        ("/more", "wrong_type"),
    ]


def test_a_value_is_kept_in_its_form() -> None:
    assert NewThing(name=" Axe ").name == "Axe"
    assert THING.revised(name=" Axe ").name == "Axe"


def test_only_an_optional_field_may_be_missing() -> None:
    assert NewThing(name="Axe", owner_id=None).owner_id is None


def test_a_cleared_field_falls_back_to_its_default() -> None:
    patched = THING.patched({"owner_id": None, "size": None, "more": None})
    assert (patched.owner_id, patched.size, patched.more) == (None, 3, {"a": 1})


def test_only_json_objects_merge() -> None:
    assert THING.patched({"more": {"b": {"d": 3}}}).more == {"b": {"c": 2, "d": 3}}
    with pytest.raises(Invalid) as invalid:
        THING.patched({"name": {"first": "A"}})
    assert faults_of(invalid) == [("/name", "wrong_type")]


def test_every_unknown_field_is_named_in_order() -> None:
    with pytest.raises(Invalid) as invalid:
        THING.patched({"z/1": 1, "id": 2, "name": "Axe", "a~b": None})
    assert faults_of(invalid) == [("/a~0b", "unknown"), ("/id", "unknown"), ("/z~11", "unknown")]


def test_a_profile_is_replaced_whole_and_nothing_else() -> None:
    replaced = THING.replaced(NewThing(name="Axe"))
    assert replaced == replace(THING, name="Axe", owner_id=None, size=3, more={"a": 1})


def test_a_profile_is_of_what_is_created() -> None:
    assert list(profile_of(NewThing)) == ["name", "owner_id", "size", "more"]


def test_an_entity_is_hidden_since_the_time_that_its_kind_names() -> None:
    user = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1)
    assert not user.is_hidden
    assert user.deleted(NOW).is_hidden
    assert user.deleted(NOW).deleted_at == NOW
    assert user.deleted(NOW).restored() == user


def test_a_kind_without_tombstones_is_never_hidden() -> None:
    assert Thing.hidden_since is None
    assert not THING.is_hidden


def test_an_entity_has_no_keys_and_no_references_unless_it_declares_them() -> None:
    assert (Entity.unique, Entity.references, Entity.identified_by) == ((), (), ())


def test_what_refers_to_another_keeps_it_unless_it_says_otherwise() -> None:
    reference = Reference("owner_id", User)
    assert (reference.on_delete, reference.on_purge, reference.about) == (Then.REFUSE, Then.REFUSE, False)


VALUES: dict[type, dict[str, Any]] = {
    NewUser: {"name": "Alice"},
    NewKey: {"name": "admin", "scopes": ("scim",)},
    User: {"id": 1, "name": "Alice", "created_at": NOW, "updated_at": NOW, "version": 1},
    Key: {"id": 1, "name": "admin", "scopes": (), "created_at": NOW, "updated_at": NOW, "version": 1},
    Reference: {"field": "owner_id", "to": User},
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_frozen_takes_its_fields_by_name_and_nothing_else(kind: type) -> None:
    value = kind(**VALUES[kind])
    first = next(iter(VALUES[kind]))
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, VALUES[kind][first])
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        value.anything = 1
    assert not hasattr(value, "__dict__")
    assert value == kind(**VALUES[kind])


@pytest.mark.parametrize("kind", [NewUser, NewKey, User, Key])
def test_a_profile_takes_its_fields_by_name_only(kind: type) -> None:
    with pytest.raises(TypeError):
        kind(*VALUES[kind].values())


def test_who_asks_has_every_scope_and_means_it_unless_more_is_said() -> None:
    context = RequestContext(actor="tester", request_id="r1")
    assert (context.scopes, context.dry_run, context.idempotency_key) == (None, False, None)


def test_the_time_is_told_in_utc() -> None:
    before = datetime.now(UTC)
    assert before <= utc_now() <= datetime.now(UTC)
    assert utc_now().tzinfo is UTC


def test_deletable_entities_carry_nothing_of_their_own() -> None:
    assert Deletable.__slots__ == Editable.__slots__ == Entity.__slots__ == ()

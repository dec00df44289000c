"""How one entity is made from another by the rules of its fields."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final

import pytest
from tests.values import has_slots_only, is_frozen, takes_names_only, values_in

import domain
from domain.entities import Editable, Entity, check, profile_of
from domain.errors import Invalid
from domain.references import Reference, ReferentialAction
from domain.users import User
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


def test_a_new_entity_is_checked_by_the_rules_of_its_annotations() -> None:
    with pytest.raises(Invalid) as invalid:
        NewThing(name="Hammer", owner_id=0, size=None, more=[])  # type: ignore[arg-type]
    assert faults_of(invalid) == [
        ("/name", "too_long"),
        ("/owner_id", "out_of_range"),
        ("/size", "wrong_type"),
        ("/more", "wrong_type"),
    ]


def test_a_value_is_kept_trimmed() -> None:
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


def test_the_profile_has_the_fields_of_the_new_entity() -> None:
    assert list(profile_of(NewThing)) == ["name", "owner_id", "size", "more"]


def test_an_entity_is_hidden_once_its_time_of_deletion_is_set() -> None:
    user = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1)
    assert not user.is_hidden
    assert user.deleted(NOW).is_hidden
    assert user.deleted(NOW).deleted_at == NOW
    assert user.deleted(NOW).restored() == user


def test_a_kind_without_tombstones_is_never_hidden() -> None:
    assert Thing.hidden_since is None
    assert not THING.is_hidden


@pytest.mark.parametrize("missing", ["id", "version", "created_at", "updated_at"])
def test_a_stored_entity_needs_its_id_version_and_times(missing: str) -> None:
    given = {"id": 1, "version": 1, "created_at": NOW, "updated_at": NOW}
    del given[missing]
    with pytest.raises(TypeError, match=missing):
        Thing(name="Axe", **given)  # type: ignore[arg-type]


def test_an_entity_has_no_keys_and_no_references_by_default() -> None:
    assert (Entity.unique, Entity.references, Entity.identified_by) == ((), (), ())


def test_a_reference_refuses_the_deletion_of_its_target_by_default() -> None:
    reference = Reference("owner_id", User)
    assert (reference.on_delete, reference.about) == (ReferentialAction.REFUSE, False)
    assert reference.on_purge is ReferentialAction.REFUSE


VALUES: Final = values_in(domain)

ALTERED: Final = {"work.RequestContext": "A route adds the idempotency key, which it knows later than the rest."}
"""The dataclasses that are not frozen, and why."""

BY_NAME: Final = {
    "batches.OperationDone", "batches.UserOperation", "changes.Change", "changes.NewChange",
    "delivery.deliveries.Answer", "delivery.deliveries.Delivery", "delivery.webhooks.NewWebhook",
    "delivery.webhooks.Webhook", "delivery.webhooks.WebhookProfile", "groups.Group", "groups.GroupProfile",
    "groups.NewGroup", "imports.Counts", "imports.Options", "imports.Outcome", "keys.Key", "keys.KeyProfile",
    "keys.NewKey", "limits.Limits", "memberships.Membership", "memberships.MembershipProfile",
    "memberships.NewMembership", "nestings.Nesting", "nestings.NestingProfile", "nestings.NewNesting", "users.NewUser",
    "users.User", "users.UserProfile", "work.RequestContext",
}  # fmt: skip
"""The values with many fields, which take keyword arguments only."""


def test_these_tests_find_the_values_of_the_domain() -> None:
    assert {"users.User", "errors.Fault", "copies.Comparison", "lists.filters.Comparison"} <= VALUES.keys()


def test_values_are_frozen() -> None:
    assert {name for name, kind in VALUES.items() if not is_frozen(kind)} == ALTERED.keys()


def test_values_have_slots_and_no_other_attributes() -> None:
    assert [name for name, kind in VALUES.items() if not has_slots_only(kind)] == []


def test_values_with_many_fields_take_keyword_arguments_only() -> None:
    assert {name for name, kind in VALUES.items() if takes_names_only(kind)} == BY_NAME


def test_a_context_has_every_scope_and_is_no_dry_run_by_default() -> None:
    context = RequestContext(actor="tester", request_id="r1")
    assert (context.scopes, context.dry_run, context.idempotency_key) == (None, False, None)


def test_utc_now_returns_the_time_in_utc() -> None:
    before = datetime.now(UTC)
    assert before <= utc_now() <= datetime.now(UTC)
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize("action", [ReferentialAction.HIDE, ReferentialAction.KEEP])
def test_a_reference_cannot_be_declared_to_stay_after_an_erasure(action: ReferentialAction) -> None:
    with pytest.raises(TypeError, match="erased"):
        Reference("owner_id", User, on_purge=action)

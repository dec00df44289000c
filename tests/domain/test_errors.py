"""The ways a request can be refused."""

import inspect
from collections.abc import Callable, Iterator

import pytest

import domain.idempotency
import domain.keys
from domain.errors import (
    BrokenReference,
    Conflict,
    Fault,
    InUse,
    Invalid,
    Malformed,
    PositionExpired,
    Refusal,
    Stale,
    UnitEnded,
)


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("domain."):
            yield each
            yield from refusals(each)


def test_each_refusal_has_a_code_of_its_own() -> None:
    assert {domain.idempotency.InFlight, domain.keys.Forbidden} <= set(refusals())
    codes = [each.code for each in refusals()]
    assert len(set(codes)) == len(codes) > 10


def test_a_refusal_has_its_message_as_detail() -> None:
    assert (str(Stale("It changed.")), Stale("It changed.").detail) == ("It changed.", "It changed.")


@pytest.mark.parametrize("kind", [each for each in refusals() if not inspect.signature(each).parameters])
def test_each_refusal_has_a_default_message(kind: Callable[[], Refusal]) -> None:
    assert kind().detail.endswith(".")


def test_a_conflict_names_the_field() -> None:
    assert Conflict("email").field == "email"
    assert "this email" in Conflict("email").detail


def test_a_conflict_has_the_kind_of_the_entities_that_have_the_values() -> None:
    assert (Conflict("email").kind, Conflict("email", kind="user").kind) == ("", "user")


def test_an_expired_position_says_where_to_continue() -> None:
    expired = PositionExpired(7)
    assert expired.last == 7
    assert expired.detail.endswith("then follow since=7.")


def test_the_text_of_a_refusal_is_its_detail() -> None:
    conflict, invalid = Conflict("email"), Invalid([Fault("/name", "too_long", "At most 9.")])
    assert (str(conflict), str(invalid)) == (conflict.detail, invalid.detail)


def test_a_conflict_of_several_fields_names_them_all() -> None:
    conflict = Conflict("owner_id", "name")
    assert (conflict.fields, conflict.field) == (("owner_id", "name"), "name")
    assert conflict.detail == "Another one has this owner_id and name."


def test_a_conflict_of_three_values_lists_all_three() -> None:
    taken = Conflict("name", taken={"email": 1, "username": 2, "external_id": 3})
    assert taken.detail == "Another one has this email, username and external_id."


def test_invalid_has_every_fault() -> None:
    faults = [Fault("/name", "too_short", "Must not be blank."), Fault("/email", "too_long", "Too long.")]
    assert Invalid(faults).faults == tuple(faults)
    assert Invalid(faults).detail


def test_a_malformed_text_has_the_position_of_the_error() -> None:
    assert Malformed("Expected a name.", 4).position == 4
    assert Malformed("This cursor is not one of this list.").position is None


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        (False, "Something still refers to it: group 1, seat 7."),
        (True, "Something still refers to it: group 1, seat 7 and more."),
    ],
)
def test_in_use_names_the_entities_that_refer_to_it(more: bool, detail: str) -> None:
    refused = InUse("owner_id", [("group", 1), ("seat", 7)], more=more)
    assert (refused.detail, refused.field) == (detail, "owner_id")
    assert refused.holders == (("group", 1), ("seat", 7))


def test_in_use_names_all_holders_by_default() -> None:
    assert InUse("owner_id", [("group", 1)]).detail == "Something still refers to it: group 1."


def test_a_broken_reference_has_a_default_message() -> None:
    assert "refers to" in BrokenReference().detail


def test_using_a_unit_that_has_ended_is_a_defect_not_a_refusal() -> None:
    assert not isinstance(UnitEnded(), Refusal)
    assert "has ended" in str(UnitEnded())

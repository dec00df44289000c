"""The sorts of lists, and the positions at which pages end."""

import json
from datetime import UTC, datetime

import pytest

from domain.errors import Malformed
from domain.lists.fields import Field, Kind
from domain.lists.pages import BY_ID, DEFAULT_LIMIT, MAX_LIMIT, MAX_SORTS, Order, Page, Sort, parse_sort
from domain.users import FIELDS, User
from domain.values import MAX_INTEGER

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def user(id: int, name: str = "A", email: str | None = None) -> User:
    return User(id=id, name=name, created_at=NOON, updated_at=NOON, version=1, email=email)


def parse(text: str) -> Sort:
    return parse_sort(text, FIELDS)


def named(sort: Sort) -> str:
    return ",".join("-" * order.descending + order.field.name for order in sort.orders)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("name", "name,id"),
        ("-created_at", "-created_at,-id"),
        ("name,-created_at", "name,-created_at,-id"),
        (" Status , -EMAIL ", "status,-email,-id"),
        ("-created_at,id", "-created_at,id"),
        ("id,name", "id"),
        ("-id", "-id"),
    ],
)
def test_every_sort_ends_with_the_id_in_the_direction_of_the_last_field(text: str, meant: str) -> None:
    assert named(parse(text)) == meant


def test_the_default_sort_is_by_id() -> None:
    assert parse("id") == BY_ID


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("name,", 5),
        ("name,,email", 5),
        ("--name", 0),
        ("name desc", 0),
        ("nam", 0),
        ("name, -nam", 7),
        ("version", 0),
        ("attributes", 0),
        ("name,status,NAME", 12),
        ("name, -name", 7),
        ("name,email,username,status,id", 27),
        ("name,email," * 10_000, 11),
        ("\x00", 0),
        ("\ud800", 0),
    ],
)
def test_a_malformed_sort_has_the_position_of_the_error(text: str, position: int) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text)
    assert refused.value.position == position


def in_order(sort: Sort, one: User, other: User) -> bool:
    return sort.compare(sort.keys_of(one), sort.keys_of(other)) < 0


def test_nulls_are_the_highest_value() -> None:
    assert in_order(parse("email"), user(2, email="z"), user(1))
    assert in_order(parse("-email"), user(1), user(2, email="z"))


def test_names_sort_by_their_folded_form() -> None:
    assert in_order(parse("name"), user(2, "ab"), user(1, "AC"))


def test_ids_break_ties() -> None:
    assert in_order(parse("email"), user(1), user(2))
    assert in_order(parse("-email"), user(2), user(1))


def test_a_position_is_unchanged_by_json() -> None:
    sort = parse("status,-email,created_at")
    at = json.loads(json.dumps(sort.position(user(3, email="Ä"))))
    assert at == ["active", "ä", "2026-01-01T12:00:00+00:00", 3]
    assert sort.keys_at(at) == sort.keys_of(user(3, email="Ä"))


def test_a_page_may_end_at_a_value_that_is_missing() -> None:
    sort = parse("email")
    assert sort.position(user(3)) == (None, 3)
    assert sort.keys_at([None, 3]) == sort.keys_of(user(3))


@pytest.mark.parametrize(
    "position",
    [None, 5, "a5", {}, [], ["a"], ["a", 5, 5], [None, 5], [5, 5], ["a", "5"], ["a", None], ["a", True], ["a", 5.0],
     ["a", 2**63], ["\x00", 5], ["\ud800", 5], [["a"], 5]],
)  # fmt: skip
def test_a_position_of_another_list_is_malformed(position: object) -> None:
    with pytest.raises(Malformed):
        parse("name").keys_at(position)


@pytest.mark.parametrize("time", ["noon", 5, "2026-01-01T12:00:00"])
def test_a_time_in_a_position_has_its_offset(time: object) -> None:
    with pytest.raises(Malformed):
        parse("created_at").keys_at([time, 5])


def test_a_position_has_only_json_values() -> None:
    assert [type(each) for each in parse("status,email,created_at").position(user(3))] == [str, type(None), str, int]


@pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER, 0, -1])
def test_a_number_in_a_position_has_the_bounds_of_integers(number: int) -> None:
    assert BY_ID.keys_at([number]) == (number,)
    for beyond in (2**53, -(2**53)):
        with pytest.raises(Malformed):
            BY_ID.keys_at((beyond,))


def test_only_an_optional_field_can_be_null_in_a_position() -> None:
    assert parse("email").keys_at([None, 5]) == (None, 5)
    for sort in ("status", "created_at", "id"):
        with pytest.raises(Malformed):
            parse(sort).keys_at([None] if sort == "id" else [None, 5])


def test_a_time_in_a_position_is_an_instant_of_any_offset() -> None:
    assert parse("created_at").keys_at(["2026-01-01T14:00:00+02:00", 5]) == (NOON, 5)


def test_a_refused_position_has_its_own_message() -> None:
    for position in (None, ["a"], ["a", "5"]):
        with pytest.raises(Malformed, match="position is not one in this list") as refused:
            parse("name").keys_at(position)
        assert refused.value.position is None


def test_an_item_is_neither_before_nor_after_its_own_position() -> None:
    sort = parse("name,-email")
    keys = sort.keys_of(user(1, email="a"))
    assert sort.compare(keys, keys) == 0
    assert sort.compare(sort.keys_of(user(1)), sort.keys_of(user(1))) == 0


def test_comparing_keys_of_different_sorts_raises() -> None:
    with pytest.raises(ValueError, match="argument"):
        parse("name").compare(("a", 1), ("a",))


@pytest.mark.parametrize(("text", "in_its_order"), [("email", ["a", "b", None]), ("-email", [None, "b", "a"])])
def test_earlier_items_compare_as_lower_than_later_ones(text: str, in_its_order: list[str | None]) -> None:
    sort = parse(text)
    keys = [sort.keys_of(user(1, email=email)) for email in in_its_order]
    for place, one in enumerate(keys):
        for other in keys[place + 1 :]:
            assert sort.compare(one, other) < 0 < sort.compare(other, one)


def test_fields_are_compared_in_the_order_of_the_sort() -> None:
    assert in_order(parse("name,-email"), user(9, "A", "a"), user(1, "B", "b"))
    assert in_order(parse("name,-email"), user(9, "A", "b"), user(1, "A", "a"))


def test_a_sort_has_at_most_four_fields_and_the_id() -> None:
    assert MAX_SORTS == 4
    assert named(parse("name,email,username,status")) == "name,email,username,status,id"
    assert named(parse("name,email,username,-id")) == "name,email,username,-id"


def test_a_field_sorts_ascending_by_default() -> None:
    assert not Order(Field("seq", Kind.INTEGER)).descending
    assert Field("seq", Kind.INTEGER).sorts
    assert not Field("seq", Kind.INTEGER).optional


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "name of a field"), ("nope", "no such field"), ("id,id", "twice"), ("a,b,c,d,e", "no such field")],
)
def test_a_refused_sort_has_a_message_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        parse(text)


def test_a_page_has_at_most_the_requested_length() -> None:
    assert Page.of([1, 2, 3, 4], 2) == Page([1, 2], more=True)
    assert DEFAULT_LIMIT <= MAX_LIMIT

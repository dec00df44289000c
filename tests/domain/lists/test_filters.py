"""The filter language: its grammar, its meaning, and the positions of errors."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import Malformed
from domain.lists.fields import Field, Kind, declare
from domain.lists.filters import (
    ITEM,
    And,
    Comparison,
    Filter,
    Not,
    Nothing,
    Operator,
    Or,
    Present,
    Some,
    equal,
    every,
    matches,
    negated,
)
from domain.lists.grammar import MAX_DEPTH, MAX_LENGTH, MAX_TERMS
from domain.lists.terms import MAX_STEPS, parse_filter
from domain.users import FIELDS, User
from domain.values import JsonObject

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAME = FIELDS["name"]
A, B, C = (Comparison(NAME, Operator.EQ, letter) for letter in "abc")
ATTRIBUTES = FIELDS["attributes"]
D = Comparison(ITEM, Operator.EQ, 1, ("c", "d"))
FIVE = Comparison(FIELDS["id"], Operator.EQ, 5)


def parse(text: str) -> Filter:
    return parse_filter(text, FIELDS)


def alice(attributes: JsonObject | None = None, email: str | None = "Alice@Example.org") -> User:
    return User(
        id=7, name="Alice", created_at=NOON, updated_at=NOON, version=2, email=email, attributes=attributes or {}
    )


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('name eq "a"', A),
        ('  NAME\tEq\n"A"  ', A),
        ('name ne "a"', Not(A)),
        ("email pr", Present(FIELDS["email"])),
        ("email eq null", Not(Present(FIELDS["email"]))),
        ("email ne null", Present(FIELDS["email"])),
        ('name eq "a" or name eq "b" and name eq "c"', Or((A, And((B, C))))),
        ('(name eq "a" or name eq "b") AND name eq "c"', And((Or((A, B)), C))),
        ('name eq "a" and name eq "b" and name eq "c"', And((A, B, C))),
        ('not(name eq "a") and name eq "b"', And((Not(A), B))),
        ('NOT (name eq "a" and name eq "b")', Not(And((A, B)))),
        ('((name eq "a"))', A),
        (r'name eq "\u0061"', A),
        (r'external_id eq "\"\\\/\n\ud83d\ude00"', Comparison(FIELDS["external_id"], Operator.EQ, '"\\/\n😀')),
        ("id ge 5", Comparison(FIELDS["id"], Operator.GE, 5)),
        ('created_at lt "2026-01-01t14:00:00+02:00"', Comparison(FIELDS["created_at"], Operator.LT, NOON)),
        ("attributes.a.B-1 gt -1.5e2", Comparison(FIELDS["attributes"], Operator.GT, -150.0, ("a", "B-1"))),
        ("Attributes.a eq true", Comparison(FIELDS["attributes"], Operator.EQ, True, ("a",))),
        ("attributes.a[b pr]", Some(ATTRIBUTES, ("a",), Present(ITEM, ("b",)))),
        ("attributes.a [ b pr and not (c.d eq 1) ]", Some(ATTRIBUTES, ("a",), And((Present(ITEM, ("b",)), Not(D))))),
        ("attributes.a[b pr].c.d eq 1", Some(ATTRIBUTES, ("a",), And((Present(ITEM, ("b",)), D)))),
        ("attributes.a[b[c.d eq 1]]", Some(ATTRIBUTES, ("a",), Some(ITEM, ("b",), D))),
        ("not (attributes.a[b pr]) or id eq 5", Or((Not(Some(ATTRIBUTES, ("a",), Present(ITEM, ("b",)))), FIVE))),
    ],
)
def test_the_grammar_of_scim_is_parsed(text: str, tree: Filter) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 3),
        ("name", 4),
        ("name eq", 7),
        ("name eq ", 8),
        ('name eq "a', 8),
        ('name eq "a\\x"', 8),
        ('name eq "a\tb"', 8),
        ("name eq a", 8),
        ("name eq True", 8),
        ("id eq 01", 6),
        ("id eq 1.", 6),
        ("id eq +1", 6),
        ("id eq NaN", 6),
        ('name is "a"', 5),
        ('name "a"', 5),
        ('nam eq "a"', 0),
        ('name.first eq "a"', 0),
        ('attributes eq "a"', 0),
        ("attributes pr", 0),
        ("attributes. pr", 0),
        ("attributes..a pr", 0),
        ('emails[type eq "work"]', 0),
        ("name[a pr]", 4),
        ("attributes[a pr]", 0),
        ("attributes.a[]", 13),
        ("attributes.a[b pr", 17),
        ("attributes.a[b pr)", 17),
        ("attributes.a[(b pr]", 18),
        ("attributes.a[b pr] .c pr", 19),
        ("attributes.a[b pr].c", 20),
        ("attributes.a[b pr]c pr", 18),
        ("attributes.a[name.first..x pr]", 13),
        (f"attributes.a[{'.'.join('b' * (MAX_STEPS + 1))} pr]", 13),
        ("attributes.a[" + "b[" * MAX_DEPTH + "c pr" + "]" * (MAX_DEPTH + 1), 12 + 2 * MAX_DEPTH),
        ("(name pr", 8),
        ("name pr)", 7),
        ("name pr name pr", 8),
        ("name pr and", 11),
        ("and name pr", 0),
        ("not name pr", 0),
        ("()", 1),
        ("name eq (", 8),
        ("status eq 3", 10),
        ("name eq true", 8),
        ("name gt null", 8),
        ("created_at gt 5", 14),
        ('created_at gt "yesterday"', 14),
        ('created_at gt "2026-02-30T00:00:00Z"', 14),
        ('created_at gt "2026-01-01T00:00:00"', 14),
        ('created_at gt "0001-01-01T00:00:00+10:00"', 14),
        ('created_at co "2026"', 11),
        ("id co 5", 3),
        ('id eq "5"', 6),
        ("id eq 5.0", 6),
        ("id eq true", 6),
        ("id eq 9007199254740992", 6),
        ("attributes.a gt true", 13),
        ("attributes.a sw 5", 13),
        ("attributes.a eq 1e400", 16),
        ("attributes.a eq -9007199254740992", 16),
        ("attributes.a eq [1]", 16),
        ('name eq "a\\u0000"', 8),
        ('name eq "\\ud800"', 8),
        ('name eq "\ud800"', 8),
        ("name\x00 pr", 0),
        ("name\u00a0pr", 0),
        (f"attributes{'.a' * (MAX_STEPS + 1)} pr", 0),
        ("(" * (MAX_DEPTH + 1) + "id pr" + ")" * (MAX_DEPTH + 1), MAX_DEPTH),
        (" or ".join(["id pr"] * (MAX_TERMS + 1)), MAX_TERMS * len("id pr or ")),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH),
    ],
)
def test_a_malformed_filter_has_the_position_of_the_error(text: str, position: int) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text)
    assert refused.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_DEPTH + "id pr" + ")" * MAX_DEPTH,
        "not (" * MAX_DEPTH + "id pr" + ")" * MAX_DEPTH,
        " or ".join(["id pr"] * MAX_TERMS),
        f"attributes{'.a' * MAX_STEPS} pr",
        'name eq "' + "a" * (MAX_LENGTH - 10) + '"',
    ],
)
def test_a_filter_at_its_bounds_is_accepted(text: str) -> None:
    parse(text)


PIECES = ['name', 'attributes.a', 'id', 'eq', 'pr', 'not', 'and', 'or', '(', ')', '"a"', '"', "\\", '1', '1e999',
          'null', ' ', '\x00', '\ud800', '\u2028', '𐀀', '[', '.', '(' * 3000, '1' * 4000]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=50) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
@example("(" * 4096)
@example("not (" * 800)
@example('"' + "\\" * 4000)
@example("id eq " + "9" * 4000)
@example("id eq 1e" + "9" * 4000)
@example("attributes" + ".a" * 2000 + " pr")
@example("id pr and " * 400)
def test_any_text_is_either_parsed_or_malformed(text: str) -> None:
    assert 0 <= position_of_error(text) <= len(text)


def position_of_error(text: str) -> int:
    """0 if there is none."""
    try:
        parse(text)
    except Malformed as refused:
        return -1 if refused.position is None else refused.position
    return 0


ANY: JsonObject = {
    "s": "Eng",
    "n": 1,
    "f": 1.0,
    "t": True,
    "e": "",
    "z": None,
    "l": ["x", 2, None],
    "o": {"p": "q"},
    "v": [],
    "w": {},
}


@pytest.mark.parametrize(
    "text",
    [
        'name eq "ALICE"',
        'name co "LIC" and name sw " al" and name ew "E"',
        'email eq "alice@example.ORG"',
        'status eq "active" and not (status eq "Active")',
        'username ne "x" and not (username eq "x") and not (username gt "") and not (username co "")',
        "username eq null and not (username pr) and email ne null",
        "id gt 6 and id le 7 and version lt 3",
        'created_at eq "2026-01-01T13:00:00.0000009+01:00"',
        'attributes.s eq "Eng" and attributes.s ne "eng" and attributes.s gt "ENG"',
        "attributes.n eq 1.0 and attributes.f eq 1 and attributes.n ne true and attributes.t ne 1",
        'attributes.n ne "1" and not (attributes.s gt 0) and not (attributes.s lt 0)',
        "attributes.t eq true and attributes.t ne false",
        'attributes.l eq "x" and attributes.l ge 2 and attributes.l ne "y" and attributes.l pr',
        'attributes.o.p eq "q" and attributes.o pr and attributes.o ne "q"',
        "attributes.e eq null and attributes.z eq null and attributes.v eq null and attributes.w eq null",
        'attributes.e eq "" and attributes.s co ""',
        'attributes.nothing.at.all ne "x" and not (attributes.nothing pr) and not (attributes.l.0 pr)',
    ],
)
def test_a_filter_matches_what_its_documentation_says(text: str) -> None:
    assert matches(parse(text), alice(ANY))


def test_every_entity_matches_if_there_is_no_filter() -> None:
    assert matches(None, alice())


def test_text_is_ordered_by_code_point_not_by_utf_16() -> None:
    assert matches(parse('attributes.a gt "\\uffff"'), alice({"a": "\U00010000"}))


def test_a_filter_can_be_built_without_parsing_a_text() -> None:
    assert equal(FIELDS["email"], "A@B") == parse('email eq "a@b"')
    assert every([None, A, None]) == A
    assert every([A, B]) == And((A, B))
    assert every([]) is None
    for bad in ("\x00", "\ud800"):
        with pytest.raises(Malformed):
            equal(FIELDS["email"], bad)


def test_a_filter_can_use_the_field_names_of_another_protocol() -> None:
    fields = {"emails.value": FIELDS["email"], "profile": FIELDS["attributes"]}
    assert parse_filter('emails.Value eq "A"', fields) == parse('email eq "a"')
    assert parse_filter("profile.b pr", fields) == parse("attributes.b pr")


def test_a_filter_takes_only_the_fields_of_its_entity() -> None:
    fields = declare(Field("seq", Kind.INTEGER), Field("actor", Kind.EXACT))
    parse_filter('seq gt 5 and actor sw "key:"', fields)
    with pytest.raises(Malformed):
        parse_filter('email eq "a"', fields)


def test_the_negation_of_a_missing_attribute_matches_nobody() -> None:
    for filter in (Nothing(), And((A, Nothing())), Or((A, Nothing())), Some(ATTRIBUTES, ("a",), Nothing()), Not(A)):
        expected = A if filter == Not(A) else Nothing()
        assert negated(filter) == expected
    assert not matches(Nothing(), alice())
    assert matches(Or((Nothing(), Present(NAME))), alice())


FOLDED: Field = Field("attributes", Kind.FOLDED_JSON)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('attributes.city eq "KÖLN"', True),
        ('attributes.city sw "KÖ"', True),
        ('attributes.city eq "Bonn"', False),
        ("attributes.floor eq 3", True),
        ("attributes.floor ge 2.5", True),
        ("attributes.floor eq true", False),
        ("attributes.open eq true", True),
        ('attributes.phones[type eq "work"]', True),
        ('attributes.phones[type eq "work" and value eq "2"]', False),
        ('attributes.phones[type eq "home" and value eq "2"]', True),
    ],
)
def test_strings_of_a_folded_document_compare_without_case(text: str, is_one: bool) -> None:
    attributes: JsonObject = {
        "city": "Köln",
        "floor": 3,
        "open": True,
        "phones": [{"type": "Work", "value": "1"}, {"type": "Home", "value": "2"}, "2"],
    }
    assert matches(parse_filter(text, declare(FOLDED)), alice(attributes)) is is_one


@pytest.mark.parametrize("held", [{}, {"b": 1}, [[1]], None, "1", True])
def test_a_number_is_compared_with_numbers_only(held: Any) -> None:
    assert not matches(parse("attributes.a ge 1"), alice({"a": held}))
    assert not matches(parse("attributes.a ge 1"), alice({"a": [held]}))


def test_the_filter_nothing_matches_nobody() -> None:
    assert matches(Nothing(), alice()) is False

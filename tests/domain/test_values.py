"""Folding, the bounds of texts and attributes, and merge patches."""

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values import (
    COMPACT,
    MAX_ID,
    MAX_INTEGER,
    Attributes,
    Id,
    JsonObject,
    JsonValue,
    OneOf,
    Text,
    copied,
    duration,
    escape,
    faults_in_scalar,
    flaw_in,
    fold,
    instant,
    is_flat,
    is_id,
    merge_patch,
    same,
)

SURROGATES = range(0xD800, 0xE000)


def test_folding_any_code_point_again_changes_nothing() -> None:
    points = (point for point in range(sys.maxunicode + 1) if point not in SURROGATES)
    assert [hex(point) for point in points if (folded := fold(chr(point))) != fold(folded)] == []


@given(st.text())
def test_folding_any_string_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet="aAßẞİıſŉǰΐΰᾳΑΙιΣσς\u0301\u0307\u0308\u0313\u0327\u0342\u0345\u00a8\u037a \u3000ﬁ㎏"))  # noqa: RUF001
def test_folding_the_awkward_letters_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_ascii_folds_the_same_alone_and_next_to_other_letters() -> None:
    texts = [one + other for one in map(chr, range(1, 128)) for other in map(chr, range(1, 128))]
    assert [text for text in texts if fold(f"é{text}é") != f"é{fold(f'x{text}x')[1:-1]}é"] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("Straße", "STRAẞE"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("οδυσσευς", "οδυσσευσ"),
        ("ﬁne", "FINE"),
        ("Ａｌｉｃｅ", "alice"),  # noqa: RUF001
        ("e\u0301", "É"),
        (" alice\u3000", "Alice"),
        ("İ", "i\u0307"),
    ],
)
def test_spellings_of_the_same_key_fold_to_the_same_text(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("ı", "I"), ("İ", "i"), ("a b", "ab"), ("é", "e")])  # noqa: RUF001
def test_spellings_of_different_keys_fold_to_different_texts(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "wrong_type"),
        (None, "wrong_type"),
        (b"ab", "wrong_type"),
        ("", "too_short"),
        (" \t\u3000", "too_short"),
        ("\x00", "forbidden_character"),
        ("a\x00", "forbidden_character"),
        ("\ud800", "forbidden_character"),
        ("abcde", "too_long"),
        ("ﬃﬃ", "too_long"),  # two letters that fold to six
    ],
)
def test_an_invalid_text_has_the_code_of_its_fault(value: object, code: str) -> None:
    assert [fault.code for fault in Text(max=4, folds=True).faults("/x", value)] == [code]


@pytest.mark.parametrize("value", ["a", "abcd", "😀😀😀😀", " a ", "ßß"])
def test_a_valid_text_has_no_fault(value: str) -> None:
    assert list(Text(max=4, folds=True).faults("/x", value)) == []


def test_the_length_of_the_folded_form_counts_only_if_the_text_folds() -> None:
    assert list(Text(max=4).faults("/x", "ﬃﬃ")) == []


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        (None, "", "wrong_type"),
        ({"b/~": [0, 2**53]}, "/b~1~0/1", "out_of_range"),
        ({"a": -(2**53)}, "/a", "out_of_range"),
        ({"a": float("nan")}, "/a", "out_of_range"),
        ({"a": float("-inf")}, "/a", "out_of_range"),
        ({"a": "\x00"}, "/a", "forbidden_character"),
        ({"a": ["\udfff"]}, "/a/0", "forbidden_character"),
        ({"\x00": 1}, "", "forbidden_character"),
        ({"a": {1, 2}}, "/a", "wrong_type"),
        ({"a": (1, 2)}, "/a", "wrong_type"),
        ({"a": [[]]}, "/a/0", "too_deep"),
        ({"a": {"b": {}}}, "/a/b", "too_deep"),
        ({"a": "x" * 56}, "", "too_long"),
        ({"é": "x" * 55}, "", "too_long"),
    ],
)
def test_invalid_attributes_have_the_code_of_their_fault(value: object, pointer: str, code: str) -> None:
    faults = list(Attributes(max_bytes=63, max_depth=2).faults("", value))
    assert [(fault.pointer, fault.code) for fault in faults] == [(pointer, code)]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"": None},
        {"a": [1, -1, 1.5, True, None, ""]},
        {"a": MAX_INTEGER, "b": -MAX_INTEGER},
        {"a": "x" * 55},
        {"a": {"b": "c"}},
    ],
)
def test_valid_attributes_have_no_fault(value: object) -> None:
    assert list(Attributes(max_bytes=63, max_depth=2).faults("", value)) == []


def test_invalid_attributes_report_every_fault() -> None:
    faults = Attributes().faults("/attributes", {"a": 2**60, "b": ["\x00"]})
    assert [fault.pointer for fault in faults] == ["/attributes/a", "/attributes/b/0"]


@pytest.mark.parametrize("value", ["a", 1, None, [float("nan"), "\x00"], ["a" * 100]])
def test_attributes_that_are_not_an_object_have_exactly_one_fault(value: object) -> None:
    assert [fault.code for fault in Attributes(max_bytes=63).faults("", value)] == ["wrong_type"]


@pytest.mark.parametrize("number", [1, 2, MAX_ID])
def test_these_numbers_are_ids(number: int) -> None:
    assert is_id(number)


@pytest.mark.parametrize("number", [0, -1, MAX_ID + 1, 2**63, 2**70])
def test_these_numbers_are_not_ids(number: int) -> None:
    assert not is_id(number)


@pytest.mark.parametrize("value", [True, False, "1", 1.0, None, [1]])
def test_only_an_integer_is_an_id(value: object) -> None:
    assert not is_id(value)
    assert [(fault.pointer, fault.code) for fault in Id().faults("/x", value)] == [("/x", "wrong_type")]


@pytest.mark.parametrize(("number", "codes"), [(0, ["out_of_range"]), (-1, ["out_of_range"]), (1, []), (2**53 - 1, []),
                                               (2**53, ["out_of_range"])])  # fmt: skip
def test_an_id_has_its_bounds(number: int, codes: list[str]) -> None:
    assert MAX_ID == MAX_INTEGER == 2**53 - 1
    assert [fault.code for fault in Id().faults("/x", number)] == codes
    assert Id().clean(number) is number


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("value", ["red", Colour.RED])
def test_a_word_of_an_enumeration_is_kept_as_its_member(value: str) -> None:
    assert OneOf(Colour).clean(value) is Colour.RED
    assert list(OneOf(Colour).faults("/x", Colour.RED)) == []


@pytest.mark.parametrize("value", ["Red", "", 1, None, ["red"]])
def test_an_unknown_word_of_an_enumeration_is_refused(value: object) -> None:
    assert OneOf(Colour).clean(value) is value
    assert [(fault.pointer, fault.code) for fault in OneOf(Colour).faults("/x", value)] == [("/x", "not_allowed")]


@pytest.mark.parametrize("value", [" a ", "\u3000a", "a"])
def test_a_text_is_trimmed_only_where_it_is_declared(value: str) -> None:
    assert Text(max=9, trims=True).clean(value) == "a"
    assert Text(max=9).clean(value) == value
    assert Text(max=9, trims=True).clean(7) == 7


def test_a_text_is_exact_unless_it_is_declared_to_fold() -> None:
    assert (Text(max=9).folds, Text(max=9).trims) == (False, False)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5+01:00", datetime(2026, 1, 2, 2, 4, 5, 500_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.0000009-00:30", datetime(2026, 1, 2, 3, 34, 5, tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_read_as_an_instant_in_utc(text: str, meant: datetime) -> None:
    assert instant(text) == meant
    assert (instant(text) or meant.astimezone(timezone(timedelta(hours=1)))).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-02", "2026-01-02T03:04:05", "2026-02-30T03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05.Z",
     "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-01:00", " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n",
     "٢٠٢٦-01-02T03:04:05Z"],
)  # fmt: skip
def test_a_text_without_date_time_or_offset_is_not_an_instant(text: str) -> None:
    assert instant(text) is None


def test_flaw_in_describes_each_kind_of_flaw() -> None:
    assert "NUL" in (flaw_in("\x00") or "")
    assert "surrogate" in (flaw_in("\ud800") or "")
    assert flaw_in("") is None


@pytest.mark.parametrize("value", [None, True, False, "", "a", 0, MAX_INTEGER, -MAX_INTEGER, 0.5, 1e300])
def test_a_json_scalar_has_no_fault(value: object) -> None:
    assert list(faults_in_scalar("/x", value)) == []


@pytest.mark.parametrize(
    ("value", "depth", "codes"),
    [({"a": [1]}, 2, []), ({"a": [1]}, 1, ["too_deep"]), ({"a": {"b": [1]}}, 2, ["too_deep"]), ({}, 1, [])],
)
def test_attributes_nest_up_to_the_maximum_depth(value: object, depth: int, codes: list[str]) -> None:
    assert [fault.code for fault in Attributes(max_depth=depth).faults("", value)] == codes


def test_attributes_have_these_default_bounds() -> None:
    assert (Attributes().max_bytes, Attributes().max_depth) == (16 * 1024, 8)


def test_the_size_of_attributes_is_checked_only_if_they_have_no_other_fault() -> None:
    faults = Attributes(max_bytes=5).faults("", {"a": "\x00" * 99, "b": 2**60})
    assert [fault.code for fault in faults] == ["forbidden_character", "out_of_range"]


@pytest.mark.parametrize(("key", "step"), [("a", "a"), ("a/b", "a~1b"), ("~1", "~01"), ("", "")])
def test_a_key_is_escaped_in_a_pointer(key: str, step: str) -> None:
    assert escape(key) == step


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ([1], [True]), ({"a": 1}, {"a": 1.0}), (None, False), ("1", 1)],
)
def test_same_distinguishes_values_that_python_compares_as_equal(one: JsonValue, other: JsonValue) -> None:
    assert not same(one, other)
    assert same(one, one)


# RFC 7396, appendix A: original, patch, result.
RFC_7396 = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396)
def test_merge_patches_give_the_results_that_the_rfc_shows(original: str, patch: str, result: str) -> None:
    assert merge_patch(json.loads(original), json.loads(patch)) == json.loads(result)


def test_a_merge_patch_changes_neither_the_target_nor_the_patch() -> None:
    target: Any = {"a": {"b": 1, "c": 2}}
    patch: Any = {"a": {"b": None, "d": {"e": None}}}
    merge_patch(target, patch)
    assert target == {"a": {"b": 1, "c": 2}}
    assert patch == {"a": {"b": None, "d": {"e": None}}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def without_nulls(value: Any) -> Any:
    """A merge patch cannot say null, so nothing that it sets is null."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(member) for key, member in value.items() if member is not None}


@given(target=json_values, patch=json_values)
def test_applying_a_patch_twice_gives_the_same_result(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(json_values)
def test_a_patch_of_an_empty_document_gives_the_patch_without_nulls(patch: Any) -> None:
    assert merge_patch({}, patch) == without_nulls(patch)


ASCII: Final = st.text(st.characters(max_codepoint=127), max_size=12)
ANY_TEXT: Final = ASCII | st.text(max_size=6) | st.just("x" * 13)
SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.floats()
    | ANY_TEXT
    | st.integers()
    | st.sampled_from([MAX_INTEGER, -MAX_INTEGER - 1])
)


@given(ASCII)
def test_the_fast_way_of_folding_gives_the_same_result_as_the_full_one(text: str) -> None:
    """Between other letters the fast way does not apply, and the letters keep the blanks from being trimmed."""
    assert fold(text) == fold(f"ß{text}ß").removeprefix("ss").removesuffix("ss").strip()


@given(ANY_TEXT | SCALARS, st.booleans(), st.booleans())
def test_a_text_that_is_plainly_valid_is_valid_as_it_is(value: object, folds: bool, trims: bool) -> None:
    rule = Text(max=12, folds=folds, trims=trims)
    if rule.accepts(value):
        assert rule.clean(value) == value
        assert not [*rule.faults("/a", value)]


@given(st.dictionaries(ANY_TEXT, SCALARS | st.lists(SCALARS, max_size=2), max_size=4) | SCALARS, st.integers(2, 200))
def test_attributes_that_are_plainly_valid_are_valid(value: object, most: int) -> None:
    rule = Attributes(max_bytes=most)
    assert not (rule.accepts(value) and [*rule.faults("/a", value)])


def test_the_fast_check_of_attributes_never_undercounts_bytes() -> None:
    """Characters take at most six bytes each, and numbers at most seventeen."""
    texts = {"\x01" * 40: "\x01" * 40}
    integers = {f"\x01{n}": -MAX_INTEGER for n in range(9)}
    for document in (texts, integers, {"": -MAX_INTEGER}, {"": -MAX_INTEGER, "a": -MAX_INTEGER}, {"": ""}, {}):
        size = len(COMPACT.encode(document).encode())
        assert not [*Attributes(max_bytes=size).faults("/a", document)]
        assert [each.code for each in Attributes(max_bytes=size - 1).faults("/a", document)] == ["too_long"]
        assert not is_flat(document, size - 1)


def test_the_size_of_attributes_counts_characters_as_utf_8() -> None:
    document = {"a": ["é" * 50]}
    assert not [*Attributes(max_bytes=110).faults("/a", document)]
    assert [each.code for each in Attributes(max_bytes=109).faults("/a", document)] == ["too_long"]


@pytest.mark.parametrize("document", [{}, {"a": "b", "c": 1, "d": None, "e": True}])
def test_flat_attributes_take_the_fast_check(document: object) -> None:
    assert is_flat(document, 16 * 1024)
    assert not is_flat([document], 16 * 1024)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, meant: timedelta) -> None:
    assert duration(text) == meant


@pytest.mark.parametrize("text", ["", "d", "9", "9w", "-9d", "1.5h", "9d ", "1d12h", "999999s", "٣d"])
def test_other_texts_are_not_durations(text: str) -> None:
    assert duration(text) is None


def test_a_copy_shares_nothing_with_its_document() -> None:
    document: JsonObject = {"a": [1, {"b": [2]}], "c": {"d": None}, "e": "text"}
    copy = copied(document)
    assert copy == document
    assert isinstance(copy, dict)
    copy["a"][1]["b"].append(3)
    copy["c"]["d"] = 4
    assert document == {"a": [1, {"b": [2]}], "c": {"d": None}, "e": "text"}
    assert copied("text") == "text"

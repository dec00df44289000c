"""The types of field values and their rules, which hold for every store and every protocol."""

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeGuard

from domain.errors import Fault

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]

MAX_ID: Final = 2**53 - 1
"""The highest id. It is the largest integer that all JSON parsers read exactly (RFC 8259, section 6)."""

MAX_INTEGER: Final = 2**53 - 1
"""The bound of integers in attributes: from `-MAX_INTEGER` to `MAX_INTEGER`, for the same reason."""


def is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID


RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(text: str) -> datetime | None:
    """Parse a time in RFC 3339 with any offset. Returns it in UTC, cut to the microsecond; None if it is not a time."""
    if not RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


DURATION: Final = re.compile(r"([0-9]{1,5})([dhms])", re.ASCII)
UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(text: str) -> timedelta | None:
    """Parse a duration such as `90d`, `12h`, `30m` or `45s`. Returns None if it is not a duration."""
    match = DURATION.fullmatch(text)
    return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None


def fold(text: str) -> str:
    """The form in which texts are compared without regard to case: NFKC, case folded, without surrounding white space.

    Case folding can undo the normal form, and the other way round. So there are three passes, after which another pass
    would change nothing.
    """
    if text.isascii():  # most are, and then this is the same in a tenth of the time
        return text.lower().strip()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFKC", folded.casefold()).strip()


class Rule:
    """The rule of a field: which values it may have."""

    __slots__ = ()

    def accepts(self, value: object) -> bool:  # noqa: ARG002
        """Whether a value is plainly valid, and already in its stored form. False says nothing. It saves the time of
        the full check for most values."""
        return False

    def clean(self, value: Any) -> Any:
        """The value in its stored form, or unchanged if it breaks the rule."""
        return value

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        """The faults of a cleaned value. The pointer says where the value is."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Text(Rule):
    """A string of 1 to `max` code points that is not blank, without NUL and lone surrogates.

    With `folds` it compares by its folded form (see `fold`). That form has the same bounds, because it goes into an
    index. With `trims` it is stored without surrounding white space.
    """

    max: int
    folds: bool = False
    trims: bool = False

    def accepts(self, value: object) -> bool:
        if not (isinstance(value, str) and value.isascii() and len(value) <= self.max and "\x00" not in value):
            return False
        trimmed = value.strip()
        return bool(trimmed) and (len(trimmed) == len(value) or not self.trims)

    def clean(self, value: Any) -> Any:
        return value.strip() if self.trims and isinstance(value, str) else value

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault(pointer, "wrong_type", "Must be a string.")
        elif flaw := flaw_in(value):
            yield Fault(pointer, "forbidden_character", flaw)
        elif not value.strip() or (self.folds and not fold(value)):
            yield Fault(pointer, "too_short", "Must not be blank.")
        elif len(value) > self.max or (self.folds and len(fold(value)) > self.max):
            yield Fault(pointer, "too_long", f"Must hold at most {self.max} characters.")


def flaw_in(text: str) -> str | None:
    """Why a string cannot be stored in every database, if so: PostgreSQL has no NUL, and UTF-8 has no lone
    surrogates."""
    if "\x00" in text:
        return "Must not hold the character NUL."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "Must not hold a lone surrogate."
    return None


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """One of the values of an enumeration, or the string of one."""

    values: type[StrEnum]

    def accepts(self, value: object) -> bool:
        return isinstance(value, self.values)

    def clean(self, value: Any) -> Any:
        return self.values(value) if isinstance(value, str) and value in list(self.values) else value

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, self.values):
            yield Fault(pointer, "not_allowed", f"Must be one of {', '.join(self.values)}.")


@dataclass(frozen=True, slots=True)
class Id(Rule):
    """The id of an entity: an integer from 1 to `MAX_ID`. The rule does not check whether the entity exists. The store
    does."""

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield Fault(pointer, "wrong_type", "Must be an integer.")
        elif not is_id(value):
            yield Fault(pointer, "out_of_range", f"Ids run from 1 to {MAX_ID}.")


COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Attributes(Rule):
    """A JSON object of at most `max_bytes` (compact, in UTF-8) and at most `max_depth` levels, including itself.

    With `folds`, its strings compare by their folded form (see `fold`), except for those at the `exact` paths.
    """

    max_bytes: int = 16 * 1024
    max_depth: int = 8
    folds: bool = False
    exact: frozenset[tuple[str, ...]] = frozenset()

    def accepts(self, value: object) -> bool:
        return is_flat(value, self.max_bytes)

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, Mapping):
            yield Fault(pointer, "wrong_type", "Must be an object.")
            return
        found = list(self._faults_within(pointer, value, self.max_depth))
        yield from found
        if not found and len(COMPACT.encode(value).encode()) > self.max_bytes:
            yield Fault(pointer, "too_long", f"Must take at most {self.max_bytes} bytes as JSON.")

    def _faults_within(self, pointer: str, value: object, levels: int) -> Iterator[Fault]:
        match value:
            case dict() | list() if levels == 0:
                yield Fault(pointer, "too_deep", f"Must nest at most {self.max_depth} levels.")
            case dict():
                for key, member in value.items():
                    yield from self._faults_in_member(pointer, key, member, levels - 1)
            case list():
                for index, item in enumerate(value):
                    yield from self._faults_within(f"{pointer}/{index}", item, levels - 1)
            case _:
                yield from faults_in_scalar(pointer, value)

    def _faults_in_member(self, pointer: str, key: str, member: object, levels: int) -> Iterator[Fault]:
        if flaw := flaw_in(key):
            yield Fault(pointer, "forbidden_character", f"A key: {flaw}")
        else:
            yield from self._faults_within(f"{pointer}/{escape(key)}", member, levels)


MOST_PER_CHARACTER: Final = 6
"""Bytes of an ASCII character in JSON: `\\u0001`."""

MOST_PER_SCALAR: Final = 17
"""Bytes of any other value of a flat object in JSON: an integer of 16 digits with a minus."""


def is_flat(value: object, max_bytes: int) -> bool:
    """Whether a document is good at a glance, as most are: a small object of ASCII texts, integers and constants."""
    if type(value) is not dict:
        return False
    characters = scalars = 0
    for key, member in value.items():
        if type(key) is not str or not key.isascii() or "\x00" in key:
            return False
        kind = type(member)
        if kind is str:
            if not member.isascii() or "\x00" in member:
                return False
            characters += len(member)
        elif kind is not bool and member is not None and not (kind is int and abs(member) <= MAX_INTEGER):
            return False
        characters += len(key)
        scalars += 1
    return MOST_PER_CHARACTER * (characters + scalars) + MOST_PER_SCALAR * (scalars + 1) <= max_bytes


def faults_in_scalar(pointer: str, value: object) -> Iterator[Fault]:
    match value:
        case None | bool():
            pass
        case str():
            if flaw := flaw_in(value):
                yield Fault(pointer, "forbidden_character", flaw)
        case int():
            if abs(value) > MAX_INTEGER:
                yield Fault(pointer, "out_of_range", f"Integers run from -{MAX_INTEGER} to {MAX_INTEGER}.")
        case float():
            if not math.isfinite(value):
                yield Fault(pointer, "out_of_range", "Must be a finite number.")
        case _:
            yield Fault(pointer, "wrong_type", "Must be a JSON value.")


def escape(key: str) -> str:
    """Escape a name for use in a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def copied(document: JsonValue) -> JsonValue:
    """A deep copy of a document."""
    if isinstance(document, dict):
        return {name: copied(each) if isinstance(each, dict | list) else each for name, each in document.items()}
    return [copied(each) for each in document] if isinstance(document, list) else document


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are the same JSON. Python's == treats 1, 1.0 and True as equal."""
    if one is other:
        return True
    if one != other or isinstance(one, str):
        return one == other
    return json.dumps(one) == json.dumps(other)


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """JSON merge patch (RFC 7396, section 2): null removes a member, objects are merged, everything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, member in patch.items():
        if member is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), member)
    return merged


AS_THEY_ARE: Final = frozenset({str, int, bool, float, dict, list})


def plain(value: Any) -> JsonValue:
    """A field's value as JSON. Times are RFC 3339, in UTC."""
    if value is None or type(value) in AS_THEY_ARE:
        return value  # type: ignore[no-any-return]
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, StrEnum) else value

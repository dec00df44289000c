"""The grammar of filters: SCIM's (RFC 7644, section 3.4.2.2), without its value paths in brackets.

`not` binds closer than `and`, `and` closer than `or`. Operators and the names of fields are the same in any case,
the members of JSON fields are not. Literals are those of JSON. Blanks are free where the grammar has one.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from domain.errors import Malformed
from domain.fields import Field, Fields, Kind
from domain.filters import And, Comparison, Filter, Not, Operator, Or, Present, Value, fitting
from domain.values import MAX_INTEGER, flaw_in

MAX_LENGTH: Final = 4096
"""Characters of a filter."""

MAX_DEPTH: Final = 16
"""Parentheses within each other."""

MAX_TERMS: Final = 64
"""Comparisons, those with `pr` included."""

MAX_STEPS: Final = 8
"""Names in a path: no attributes nest deeper."""


def parse_filter(text: str, fields: Fields) -> Filter:
    """The filter of a text. Raises `Malformed` with the position of the error.

    A name in `fields` may have dots, for a protocol that names a field by a path.
    """
    if len(text) > MAX_LENGTH:
        raise Malformed(f"A filter holds at most {MAX_LENGTH} characters.", MAX_LENGTH)
    parser = Parser(tuple(tokens_in(text)), fields)
    return parser.whole()


class Token(NamedTuple):
    kind: str
    text: str
    at: int


TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
    | (?P<open>\() | (?P<close>\))
    | (?P<word>[^ \t\r\n()"]+)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
CONSTANTS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}


def tokens_in(text: str) -> Iterator[Token]:
    """The tokens, the last of kind "end"."""
    at = 0
    while found := TOKEN.match(text, at):
        kind = found.lastgroup or ""
        yield Token(kind, found[kind], found.start(kind))
        if kind == "end":
            return
        at = found.end()
    raise Malformed("A string ends with a double quote, and holds only the escapes of JSON.", start_of(text, at))


def start_of(text: str, at: int) -> int:
    """Where the next token starts, blanks passed over."""
    return len(text) - len(text[at:].lstrip(" \t\r\n"))


class Parser:
    """Reads the tokens of one text from the left, with one method for each rule of the grammar."""

    def __init__(self, tokens: Sequence[Token], fields: Fields) -> None:
        self._tokens = tokens
        self._fields = fields
        self._next = 0
        self._terms = 0

    @property
    def _ahead(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._ahead
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def whole(self) -> Filter:
        filter = self._any(depth=0)
        if self._ahead.kind != "end":
            raise Malformed("Expected: and, or, or the end.", self._ahead.at)
        return filter

    def _any(self, depth: int) -> Filter:
        parts = tuple(self._joined("or", self._all, depth))
        return Or(parts) if len(parts) > 1 else parts[0]

    def _all(self, depth: int) -> Filter:
        parts = tuple(self._joined("and", self._one, depth))
        return And(parts) if len(parts) > 1 else parts[0]

    def _joined(self, word: str, part: Callable[[int], Filter], depth: int) -> Iterator[Filter]:
        yield part(depth)
        while self._ahead.kind == "word" and self._ahead.text.lower() == word:
            self._take()
            yield part(depth)

    def _one(self, depth: int) -> Filter:
        token = self._take()
        if token.kind == "open":
            return self._group(token, depth + 1)
        if token.text.lower() == "not" and self._ahead.kind == "open":
            return Not(self._group(self._take(), depth + 1))
        return self._term(token)

    def _group(self, opening: Token, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise Malformed(f"Parentheses nest at most {MAX_DEPTH} deep.", opening.at)
        filter = self._any(depth)
        if (closing := self._take()).kind != "close":
            raise Malformed("Expected: and, or, or a closing parenthesis.", closing.at)
        return filter

    def _term(self, name: Token) -> Filter:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise Malformed(f"A filter holds at most {MAX_TERMS} comparisons.", name.at)
        field, path = field_at(name, self._fields)
        match self._take():
            case Token("word", word) if word.lower() == "pr":
                return Present(field, path)
            case Token("word", word, at) if word.lower() == "ne":
                return negated(self._comparison(field, path, Token("word", "eq", at)))
            case comparing:
                return self._comparison(field, path, comparing)

    def _comparison(self, field: Field, path: tuple[str, ...], comparing: Token) -> Filter:
        name = operator_of(comparing, field)
        token = self._take()
        literal = literal_of(token)
        if literal is None and name is Operator.EQ:
            return Not(Present(field, path))
        value = fitting(field, literal, token.at)
        if name not in operators_of(value):
            raise Malformed("This operator does not compare such a value.", comparing.at)
        return Comparison(field, name, value, path)


def negated(filter: Filter) -> Filter:
    return filter.part if isinstance(filter, Not) else Not(filter)


def field_at(token: Token, fields: Fields) -> tuple[Field, tuple[str, ...]]:
    if token.kind != "word" or not PATH.fullmatch(token.text):
        raise Malformed("Expected: the name of a field, not (, or an opening parenthesis.", token.at)
    if field := fields.get(token.text.lower()):
        return whole_field(field, token)
    name, *path = token.text.split(".")
    field = fields.get(name.lower())
    if field is None or field.kind is not Kind.JSON:
        raise Malformed("There is no such field to filter by.", token.at)
    if len(path) > MAX_STEPS:
        raise Malformed(f"A path holds at most {MAX_STEPS} names after the field's.", token.at)
    return field, tuple(path)


def whole_field(field: Field, token: Token) -> tuple[Field, tuple[str, ...]]:
    if field.kind is Kind.JSON:
        raise Malformed(f"Name a member of this field: {field.name}.department, say.", token.at)
    return field, ()


OPERATORS: Final = frozenset(Operator)
ORDERED: Final = OPERATORS - {Operator.CO, Operator.SW, Operator.EW}


def operator_of(token: Token, field: Field) -> Operator:
    name = token.text.lower()
    if token.kind != "word" or name not in OPERATORS:
        raise Malformed(f"Expected an operator: ne, pr, {', '.join(Operator)}.", token.at)
    if field.kind in {Kind.INTEGER, Kind.INSTANT} and name not in ORDERED:
        raise Malformed("This operator is for text only.", token.at)
    return Operator(name)


def operators_of(value: Value) -> frozenset[Operator]:
    if isinstance(value, bool):
        return frozenset({Operator.EQ})
    return OPERATORS if isinstance(value, str) else ORDERED


def literal_of(token: Token) -> bool | int | float | str | None:
    if token.kind == "string":
        return string_of(token)
    if token.kind == "word" and token.text in CONSTANTS:
        return CONSTANTS[token.text]
    if token.kind == "word" and NUMBER.fullmatch(token.text):
        return number_of(token)
    raise Malformed("Expected a JSON value: a string in double quotes, a number, true, false or null.", token.at)


def string_of(token: Token) -> str:
    text: str = json.loads(token.text)
    if flaw := flaw_in(text):
        raise Malformed(f"A string: {flaw}", token.at)
    return text


def number_of(token: Token) -> int | float:
    number: int | float = json.loads(token.text)
    if isinstance(number, int) and abs(number) > MAX_INTEGER:
        raise Malformed(f"Integers run from -{MAX_INTEGER} to {MAX_INTEGER}.", token.at)
    if not math.isfinite(number):
        raise Malformed("This number is too large.", token.at)
    return number

"""The grammar of filters: SCIM's (RFC 7644, section 3.4.2.2). What its names stand for is up to a `Names`.

`not` binds closer than `and`, `and` closer than `or`. Operators and the names of fields are the same in any case,
the members of JSON fields are not. Literals are those of JSON. Blanks are free where the grammar has one. A value path
may go on behind its brackets, as clients write it: `a[b eq 1].c eq 2` is short for `a[b eq 1 and c eq 2]`.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from domain.errors import Malformed
from domain.fields import Field, Fields, Kind, Path
from domain.filters import (
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
    Value,
    asks_for_nothing,
    fitting,
    negated,
)
from domain.values import MAX_INTEGER, flaw_in

MAX_LENGTH: Final = 4096
"""Characters of a filter."""

MAX_DEPTH: Final = 16
"""Parentheses within each other."""

MAX_TERMS: Final = 64
"""Comparisons, those with `pr` included."""

MAX_STEPS: Final = 8
"""Names in a path: no attributes nest deeper."""


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class Term(Protocol):
    """What a name in a filter stands for. Its methods raise `Malformed` with the position of the error."""

    def present(self) -> Filter: ...

    def compared(self, comparing: Token, literal: Token) -> Filter:
        """The filter of a comparison by this operator (`ne` is `not` of `eq`), with this literal."""
        ...

    def names_within(self, opening: Token) -> "Names":
        """The names that may stand in brackets after this one."""
        ...

    def some(self, part: Filter) -> Filter:
        """The filter that asks for one element that matches all of `part`."""
        ...


class Names(Protocol):
    def term(self, name: Token) -> Term:
        """What a name stands for. Raises `Malformed` at an unknown one."""
        ...


def parse_filter(text: str, fields: Fields) -> Filter:
    """The filter of a text on the fields of an entity. Raises `Malformed` with the position of the error."""
    return parse_by(text, FieldNames(fields))


def parse_by(text: str, names: Names) -> Filter:
    """The filter of a text with the names of some protocol. Raises `Malformed` with the position of the error."""
    if len(text) > MAX_LENGTH:
        raise Malformed(f"A filter holds at most {MAX_LENGTH} characters.", MAX_LENGTH)
    return Parser(tuple(tokens_in(text))).whole(names)


TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
    | (?P<open>\() | (?P<close>\))
    | (?P<bracket>\[) | (?P<endbracket>\])
    | (?P<word>[^ \t\r\n()\[\]"]+)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
PATH: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9_.:-]*:)?[A-Za-z$][A-Za-z0-9_-]*(?:\.[$A-Za-z0-9_-]+)*")
"""A name with the path behind it. A URN may stand before it, in protocols that name a schema so."""

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

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._terms = 0

    @property
    def _ahead(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._ahead
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def whole(self, names: Names) -> Filter:
        filter = self._any(names, depth=0)
        if self._ahead.kind != "end":
            raise Malformed("Expected: and, or, or the end.", self._ahead.at)
        return filter

    def _any(self, names: Names, depth: int) -> Filter:
        parts = tuple(self._joined("or", self._all, names, depth))
        return Or(parts) if len(parts) > 1 else parts[0]

    def _all(self, names: Names, depth: int) -> Filter:
        parts = tuple(self._joined("and", self._one, names, depth))
        return And(parts) if len(parts) > 1 else parts[0]

    def _joined(self, word: str, part: Callable[[Names, int], Filter], names: Names, depth: int) -> Iterator[Filter]:
        yield part(names, depth)
        while self._ahead.kind == "word" and self._ahead.text.lower() == word:
            self._take()
            yield part(names, depth)

    def _one(self, names: Names, depth: int) -> Filter:
        token = self._take()
        if token.kind == "open":
            return self._group(token, names, depth + 1)
        if token.text.lower() == "not" and self._ahead.kind == "open":
            group = self._group(self._take(), names, depth + 1)
            return Nothing() if asks_for_nothing(group) else Not(group)
        return self._term(token, names, depth)

    def _group(self, opening: Token, names: Names, depth: int) -> Filter:
        filter = self._enclosed(opening, names, depth)
        if (closing := self._take()).kind != "close":
            raise Malformed("Expected: and, or, or a closing parenthesis.", closing.at)
        return filter

    def _enclosed(self, opening: Token, names: Names, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise Malformed(f"Parentheses nest at most {MAX_DEPTH} deep.", opening.at)
        return self._any(names, depth)

    def _term(self, name: Token, names: Names, depth: int) -> Filter:
        if name.kind != "word" or not PATH.fullmatch(name.text):
            raise Malformed("Expected: the name of a field, not (, or an opening parenthesis.", name.at)
        return self._asked(name, names.term(name), depth)

    def _asked(self, name: Token, term: Term, depth: int) -> Filter:
        """What is asked of a term."""
        if self._ahead.kind == "bracket":
            return self._elements(term, depth + 1)
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise Malformed(f"A filter holds at most {MAX_TERMS} comparisons.", name.at)
        comparing = self._take()
        if comparing.kind == "word" and comparing.text.lower() == "pr":
            return term.present()
        if comparing.kind == "word" and comparing.text.lower() == "ne":
            return negated(term.compared(comparing._replace(text="eq"), self._take()))
        return term.compared(comparing, self._take())

    def _elements(self, term: Term, depth: int) -> Filter:
        opening = self._take()
        names = term.names_within(opening)
        part = self._enclosed(opening, names, depth)
        if (closing := self._take()).kind != "endbracket":
            raise Malformed("Expected: and, or, or a closing bracket.", closing.at)
        behind = self._ahead
        if behind.kind == "word" and behind.text.startswith(".") and behind.at == closing.at + 1:
            self._take()
            name = Token("word", behind.text[1:], behind.at + 1)
            return term.some(And((part, self._term(name, names, depth))))
        return term.some(part)


class FieldNames:
    """The fields of an entity. A JSON field is named with the path to one of its members."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def term(self, name: Token) -> Term:
        if field := self._fields.get(name.text.lower()):
            return FieldTerm(whole_field(field, name))
        first, *path = name.text.split(".")
        field = self._fields.get(first.lower())
        if field is None or not field.is_json:
            raise Malformed(f"There is no such field to filter by. Fields are {', '.join(self._fields)}.", name.at)
        return FieldTerm(field, path_of(path, name))


class ItemNames:
    """The members of an element of an array."""

    def term(self, name: Token) -> Term:
        return FieldTerm(ITEM, path_of(name.text.split("."), name))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """A field, or the member of a JSON field that a path leads to."""

    field: Field
    path: Path = ()

    def present(self) -> Filter:
        return Present(self.field, self.path)

    def compared(self, comparing: Token, literal: Token) -> Filter:
        name = operator_of(comparing, self.field)
        given = literal_of(literal)
        if given is None and name is Operator.EQ:
            return Not(self.present())
        value = fitting(self.field, given, literal.at)
        if name not in operators_of(value):
            raise Malformed("This operator does not compare such a value.", comparing.at)
        return Comparison(self.field, name, value, self.path)

    def names_within(self, opening: Token) -> Names:
        if not self.field.is_json:
            raise Malformed("This field has no elements.", opening.at)
        return ItemNames()

    def some(self, part: Filter) -> Filter:
        return Some(self.field, self.path, part)


def path_of(steps: Sequence[str], token: Token) -> Path:
    if len(steps) > MAX_STEPS:
        raise Malformed(f"A path holds at most {MAX_STEPS} names after the field's.", token.at)
    return tuple(steps)


def whole_field(field: Field, token: Token) -> Field:
    if field.is_json:
        raise Malformed(f"Name a member of this field: {field.name}.department, say.", token.at)
    return field


OPERATORS: Final = frozenset(Operator)
ORDERED: Final = OPERATORS - {Operator.CO, Operator.SW, Operator.EW}


def operator_of(token: Token, field: Field) -> Operator:
    name = token.text.lower()
    if token.kind != "word" or name not in OPERATORS:
        raise Malformed(f"Expected an operator: ne, pr, {', '.join(Operator)}.", token.at)
    if field.kind in {Kind.INTEGER, Kind.INSTANT, Kind.IDS} and name not in ORDERED:
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

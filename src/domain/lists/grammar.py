"""The grammar of filters, which is SCIM's (RFC 7644, section 3.4.2.2). A `Names` object says what the names stand for.

`not` binds closer than `and`, and `and` closer than `or`. Operators and names of fields may be in any case. Members of
JSON fields are case-sensitive. Literals are those of JSON. Where the grammar has one space, there may be several. A
value path may continue after its brackets, as some clients write it: `a[b eq 1].c eq 2` means `a[b eq 1 and c eq 2]`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from domain.errors import Malformed
from domain.lists.filters import (
    And,
    Filter,
    Not,
    Nothing,
    Or,
    asks_for_nothing,
    negated,
)

MAX_LENGTH: Final = 4096
"""The most characters of a filter."""

MAX_DEPTH: Final = 16
"""The deepest nesting of parentheses."""

MAX_TERMS: Final = 64
"""The most comparisons in a filter, including those with `pr`."""


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class Term(Protocol):
    """What a name in a filter stands for. Its methods raise `Malformed` with the position of the error."""

    def present(self) -> Filter: ...

    def compared(self, comparing: Token, literal: Token) -> Filter:
        """The filter that compares with this literal by this operator. `ne` is `not` of `eq`."""
        ...

    def names_within(self, opening: Token) -> "Names":
        """The names that are valid in brackets after this name."""
        ...

    def some(self, part: Filter) -> Filter:
        """The filter that asks for one element that matches all of `part`."""
        ...


class Names(Protocol):
    def term(self, name: Token) -> Term:
        """What a name stands for. Raises `Malformed` at an unknown one."""
        ...


def parse_by(text: str, names: Names) -> Filter:
    """Parse a filter with the names of a protocol. Raises `Malformed` with the position of the error."""
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
"""A name with its path. In protocols that name schemas, the URN of a schema may stand before it."""


def tokens_in(text: str) -> Iterator[Token]:
    """The tokens of a text. The last one is of the kind "end"."""
    at = 0
    while found := TOKEN.match(text, at):
        kind = found.lastgroup or ""
        yield Token(kind, found[kind], found.start(kind))
        if kind == "end":
            return
        at = found.end()
    raise Malformed(
        "A string has to end with a double quote, and may contain only the escapes of JSON.", start_of(text, at)
    )


def start_of(text: str, at: int) -> int:
    """The start of the next token, after white space."""
    return len(text) - len(text[at:].lstrip(" \t\r\n"))


class Parser:
    """A recursive-descent parser: it reads the tokens from the left, with one method for each rule of the grammar."""

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
        """The filter of one term, from its name to its literal or closing bracket."""
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

"""Other ways to read filters: strictly, and in lists of several resource types."""

from collections.abc import Collection
from dataclasses import dataclass

from api.scim.schemas.resources import ResourceType
from api.scim.syntax.filters import NONE, Unknown
from api.scim.syntax.literals import literal_in
from domain.errors import Malformed
from domain.lists.filters import ITEM, Filter
from domain.lists.grammar import Names, Term, Token, parse_by, tokens_in
from domain.lists.terms import CONSTANTS, operator_of


def parse(text: str, names: Names, *, strict: bool) -> Filter:
    """Parse a filter. With `strict`, unknown names and deviations from the grammar are refused.

    Raises `Malformed`.
    """
    if not strict:
        return parse_by(text, names)
    filter = parse_by(text, StrictNames(names))
    for token in tokens_in(text):
        if token.kind == "word" and token.text.startswith("."):
            raise Malformed("Expected: and, or, or the end. Name the part within the brackets.", token.at)
    return filter


@dataclass(frozen=True, slots=True)
class StrictNames:
    names: Names

    def term(self, name: Token) -> Term:
        term = self.names.term(name)
        if isinstance(term, Unknown):
            raise Malformed("There is no such attribute.", name.at)
        return StrictTerm(term)


@dataclass(frozen=True, slots=True)
class StrictTerm:
    """A term that accepts only the literals of JSON: true in lower case, without quotes."""

    term: Term

    def present(self) -> Filter:
        return self.term.present()

    def compared(self, comparing: Token, literal: Token) -> Filter:
        attribute = getattr(self.term, "attribute", None)
        is_quoted = literal.kind == "string" and attribute is not None and attribute.type == "boolean"
        is_odd = literal.kind == "word" and literal.text not in CONSTANTS and literal.text.lower() in CONSTANTS
        if is_quoted or is_odd:
            raise Malformed("Expected: true, false or null.", literal.at)
        return self.term.compared(comparing, literal)

    def names_within(self, opening: Token) -> Names:
        return StrictNames(self.term.names_within(opening))

    def some(self, part: Filter) -> Filter:
        return self.term.some(part)


@dataclass(frozen=True, slots=True)
class NamesAmongOthers:
    """The names of one resource type in a list of several. Attributes of the other types have no value (RFC 7644,
    section 3.4.2.1)."""

    names: Names
    others: Collection[ResourceType]

    def term(self, name: Token) -> Term:
        term = self.names.term(name)
        if isinstance(term, Unknown) and any(each.steps_to(name.text) for each in self.others):
            return Missing()
        return term


class Missing:
    """An attribute without a value."""

    def present(self) -> Filter:
        return NONE

    def compared(self, comparing: Token, literal: Token) -> Filter:
        operator_of(comparing, ITEM)
        literal_in(literal)
        return NONE

    def names_within(self, opening: Token) -> Names:  # noqa: ARG002
        return MissingNames()

    def some(self, part: Filter) -> Filter:  # noqa: ARG002
        return NONE


class MissingNames:
    def term(self, name: Token) -> Term:  # noqa: ARG002
        return Missing()

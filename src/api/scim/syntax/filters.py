"""Filters: the meaning of SCIM's names in the grammar that all lists share (RFC 7644, section 3.4.2.2).

A term is about a field of the entity, about a member of a JSON document, or about one of the elements of an array in
it. An attribute that does not exist matches nothing, and its `not` matches nothing either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from api.scim.schemas.attributes import Attribute
from api.scim.syntax.literals import id_of, literal_in, read
from domain.errors import Malformed
from domain.lists.fields import ID, Field, Path
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
    Value,
    negated,
)
from domain.lists.grammar import Names, Term, Token
from domain.lists.terms import operator_of
from domain.values import fold

EVERY: Final[Filter] = Present(ID)
NONE: Final[Filter] = Not(EVERY)
"""A filter that is false, and true with a `not` before it. This differs from `Nothing`."""


class Unknown:
    """A name that does not exist."""

    def present(self) -> Filter:
        return Nothing()

    def compared(self, comparing: Token, literal: Token) -> Filter:
        operator_of(comparing, ITEM)
        literal_in(literal)
        return Nothing()

    def names_within(self, opening: Token) -> Names:  # noqa: ARG002
        return NoNames()

    def some(self, part: Filter) -> Filter:  # noqa: ARG002
        return Nothing()


class NoNames:
    def term(self, name: Token) -> Term:  # noqa: ARG002
        return Unknown()


@dataclass(frozen=True, slots=True)
class ElementNames:
    """The parts of one value of a complex attribute."""

    attribute: Attribute

    def term(self, name: Token) -> Term:
        part = self.attribute.parts.get(name.text.lower())
        return Unknown() if part is None else Member(part, ITEM, (part.name,))


@dataclass(frozen=True)
class Member:
    """An attribute in a JSON document, at a path."""

    attribute: Attribute
    field: Field
    path: Path = ()

    def present(self) -> Filter:
        return Present(self.field, self.path)

    def compared(self, comparing: Token, literal: Token) -> Filter:
        if self.attribute.is_complex:
            return self.value(comparing).compared(comparing, literal)
        operator, value = read(self.attribute, comparing, literal)
        return negated(self.present()) if value is None else Comparison(self.field, operator, value, self.path)

    def value(self, at: Token) -> Term:
        """The part that is compared if a filter compares a complex attribute as a whole."""
        value = self.attribute.parts.get("value")
        if value is None:
            raise Malformed(f"Name a part of {self.attribute.name}.", at.at)
        return self.part(value)

    def part(self, part: Attribute) -> Term:
        if self.attribute.multi:
            return PartOfSome(self, Member(part, ITEM, (part.name,)), part)
        return Member(part, self.field, (*self.path, part.name))

    def names_within(self, opening: Token) -> Names:
        if not self.attribute.is_complex:
            raise Malformed(f"{self.attribute.name} has no parts.", opening.at)
        return ElementNames(self.attribute)

    def some(self, part: Filter) -> Filter:
        return Some(self.field, self.path, part)


@dataclass(frozen=True, slots=True)
class PartOfSome:
    """A part of a multi-valued attribute, as in `emails.type`. It matches if it does for one of the values."""

    whole: Term
    inner: Term
    attribute: Attribute

    def present(self) -> Filter:
        return self.whole.some(self.inner.present())

    def compared(self, comparing: Token, literal: Token) -> Filter:
        return self.whole.some(self.inner.compared(comparing, literal))

    def names_within(self, opening: Token) -> Names:
        return self.inner.names_within(opening)

    def some(self, part: Filter) -> Filter:
        return self.whole.some(self.inner.some(part))


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute that is stored in a field of the entity.

    `convert` makes a value of the field from a value of the attribute; None if the field cannot have it. `only_equal`:
    only eq and ne are allowed, because the order of the field differs from that of the attribute.
    """

    attribute: Attribute
    field: Field
    convert: Callable[[Value], Value | None]
    only_equal: bool = False

    def present(self) -> Filter:
        return Present(self.field) if self.field.optional else EVERY

    def compared(self, comparing: Token, literal: Token) -> Filter:
        operator, given = read(self.attribute, comparing, literal)
        if given is None:
            return negated(self.present())
        if self.only_equal and operator is not Operator.EQ:
            raise Malformed(f"{self.attribute.name} is compared by eq and ne only.", comparing.at)
        value = self.convert(given)
        return NONE if value is None else Comparison(self.field, operator, value)

    def names_within(self, opening: Token) -> Names:
        raise Malformed(f"{self.attribute.name} has no parts.", opening.at)

    def some(self, part: Filter) -> Filter:
        return part


@dataclass(frozen=True, slots=True)
class Relation:
    """A multi-valued attribute whose values are other resources, such as the members of a group.

    `fields` are the fields of their ids. `parts` are terms about the fields of one such resource, by lower-case name.
    """

    attribute: Attribute
    fields: tuple[Field, ...]
    parts: Mapping[str, Term]

    def present(self) -> Filter:
        return any_of(*(Present(field) for field in self.fields))

    def compared(self, comparing: Token, literal: Token) -> Filter:
        return self.part("value").compared(comparing, literal)

    def part(self, name: str) -> Term:
        part = self.attribute.parts[name]
        return PartOfSome(self, self.parts[name], part)

    def names_within(self, opening: Token) -> Names:  # noqa: ARG002
        return self

    def term(self, name: Token) -> Term:
        return self.parts.get(name.text.lower(), Unknown())

    def some(self, part: Filter) -> Filter:
        return any_of(*(Some(field, (), part) for field in self.fields))


def any_of(first: Filter, *others: Filter) -> Filter:
    return Or((first, *others)) if others else first


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a resource, whose endpoint says its kind."""

    attribute: Attribute
    kinds: Mapping[str, Filter]
    """For each endpoint, by lower-case name, a filter that is true for its resources."""

    def present(self) -> Filter:
        return EVERY

    def compared(self, comparing: Token, literal: Token) -> Filter:
        operator, given = read(self.attribute, comparing, literal)
        if operator is not Operator.EQ:
            raise Malformed(f"{self.attribute.name} is compared by eq and ne only.", comparing.at)
        if given is None:
            return negated(self.present())
        _, _, endpoint, id = f"///{given}".rsplit("/", 3)
        kind, known = self.kinds.get(endpoint.lower()), id_of(id)
        return NONE if kind is None or known is None else And((kind, Comparison(ID, Operator.EQ, known)))

    def names_within(self, opening: Token) -> Names:
        raise Malformed(f"{self.attribute.name} has no parts.", opening.at)

    def some(self, part: Filter) -> Filter:
        return part


@dataclass(frozen=True, slots=True)
class Constant:
    """An attribute that has the same value in all resources."""

    attribute: Attribute
    value: str

    def present(self) -> Filter:
        return EVERY

    def compared(self, comparing: Token, literal: Token) -> Filter:
        operator, given = read(self.attribute, comparing, literal)
        if operator is not Operator.EQ:
            raise Malformed(f"{self.attribute.name} is compared by eq and ne only.", comparing.at)
        return EVERY if isinstance(given, str) and fold(given) == fold(self.value) else NONE

    def names_within(self, opening: Token) -> Names:
        raise Malformed(f"{self.attribute.name} has no parts.", opening.at)

    def some(self, part: Filter) -> Filter:
        return part


@dataclass(frozen=True, slots=True)
class Unfiltered:
    """An attribute by which lists cannot be filtered. It is refused, because ignoring the term would find all
    resources."""

    attribute: Attribute

    def present(self) -> Filter:
        return EVERY

    def compared(self, comparing: Token, literal: Token) -> Filter:  # noqa: ARG002
        raise Malformed(f"Lists are not filtered by {self.attribute.name}.", comparing.at)

    def names_within(self, opening: Token) -> Names:
        raise Malformed(f"Lists are not filtered by {self.attribute.name}.", opening.at)

    def some(self, part: Filter) -> Filter:
        return part

"""The literals of filters, for each type of attribute."""

from collections.abc import Callable, Mapping
from typing import Final

from api.scim.schemas.attributes import Attribute
from domain.errors import Malformed
from domain.lists.filters import ITEM, Operator, Value
from domain.lists.grammar import Token
from domain.lists.terms import CONSTANTS, ORDERED, literal_of, operator_of, operators_of
from domain.values import fold, instant, is_id


def id_of(value: Value) -> int | None:
    """The id in a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and is_id(id := int(value)) and str(id) == value:
        return id
    return None


def same(value: Value) -> Value:
    return value


def read(attribute: Attribute, comparing: Token, literal: Token) -> tuple[Operator, Value | None]:
    """The operator, and the literal in the form in which the attribute is compared. None means null, only with eq."""
    operator = operator_of(comparing, ITEM)
    given = literal_in(literal)
    if given is None:
        if operator is not Operator.EQ:
            raise Malformed("null is compared by eq and ne only.", comparing.at)
        return operator, None
    value = READERS.get(attribute.type, read_text)(attribute, given)
    if value is None:
        raise Malformed(f"{attribute.name} is compared with {EXPECTED.get(attribute.type, 'a string')}.", literal.at)
    if operator not in operators_for(attribute, value):
        raise Malformed(f"This operator does not compare {attribute.name}.", comparing.at)
    return operator, value


def literal_in(token: Token) -> str | int | float | bool | None:
    """A literal. Its words may be in any case, because some clients write True."""
    if token.kind == "word" and token.text.lower() in CONSTANTS:
        return CONSTANTS[token.text.lower()]
    return literal_of(token)


def read_text(attribute: Attribute, given: object) -> Value | None:
    if not isinstance(given, str):
        return None
    return given if attribute.exact else fold(given)


def read_boolean(_: Attribute, given: object) -> Value | None:
    if isinstance(given, str):
        return CONSTANTS.get(given.lower())
    return given if isinstance(given, bool) else None


def read_time(_: Attribute, given: object) -> Value | None:
    """A time. Without an offset it is in UTC, because xsd:dateTime allows times without an offset."""
    return instant(given) or instant(f"{given}Z") if isinstance(given, str) else None


READERS: Final[Mapping[str, Callable[[Attribute, object], Value | None]]] = {
    "boolean": read_boolean,
    "dateTime": read_time,
}


EXPECTED: Final[Mapping[str, str]] = {
    "boolean": "true or false",
    "dateTime": "a date and time in a string, such as 2026-01-31T00:00:00Z",
}


def operators_for(attribute: Attribute, value: Value) -> frozenset[Operator]:
    """The operators for values of this type. Binaries have no order (RFC 7644, table 3)."""
    if attribute.type == "dateTime":
        return ORDERED
    if attribute.type == "binary":
        return operators_of(value) - (ORDERED - {Operator.EQ})
    return operators_of(value)

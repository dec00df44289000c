"""Names and paths of attributes (RFC 7644, sections 3.5.2 and 3.10)."""

from dataclasses import dataclass

from api.scim.errors import Refused, invalid_path, invalid_syntax
from api.scim.schemas.attributes import Attribute
from api.scim.schemas.resources import ResourceType, Steps
from api.scim.syntax.filters import ElementNames
from api.scim.syntax.strictness import parse
from domain.lists.filters import Filter
from domain.lists.grammar import Term, Token


class KnownNames(ElementNames):
    """The names of the parts of a value. Other names are refused, because such a filter would silently change
    nothing."""

    def term(self, name: Token) -> Term:
        if name.text.lower() not in self.attribute.parts:
            raise invalid_path("There is no such attribute.")
        return super().term(name)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a path. With a selector these are elements of the last step, with a part it is a part of these
    elements."""

    steps: Steps
    selector: Filter | None = None
    part: Attribute | None = None


def target_of(path: str, type_: ResourceType, *, strict: bool) -> Target:
    """Parse a path. Raises `Refused` if there is no such attribute, and `Malformed` for a malformed filter in it."""
    name, opening, rest = path.strip().partition("[")
    steps = type_.steps_to(name.strip())
    if steps is None:
        raise no_such_attribute(strict=strict)
    if not opening:
        return Target(steps)
    selector, behind = up_to_bracket(rest)
    attribute = steps[-1]
    if not attribute.is_complex:
        raise invalid_path(f"{attribute.name} has no values to select from.")
    filter = parse(selector, KnownNames(attribute), strict=strict)
    if not behind.strip():
        return Target(steps, filter)
    part = attribute.parts.get(behind.strip().removeprefix(".").lower())
    if part is None or not behind.strip().startswith("."):
        raise no_such_attribute(strict=strict)
    return Target(steps, filter, part)


def no_such_attribute(*, strict: bool) -> Refused:
    """The refusal for an unknown attribute. The interoperability profile has the same keyword for it everywhere."""
    detail = "There is no such attribute."
    return invalid_syntax(detail) if strict else invalid_path(detail)


def up_to_bracket(text: str) -> tuple[str, str]:
    """The text before the closing bracket, and the text after it. Strings may contain brackets."""
    quoted = escaped = False
    for at, letter in enumerate(text):
        if letter == '"' and not escaped:
            quoted = not quoted
        if letter == "]" and not quoted:
            return text[:at], text[at + 1 :]
        escaped = letter == "\\" and not escaped
    raise invalid_path("Expected: a closing bracket.")

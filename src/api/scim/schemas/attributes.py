"""The attributes of schemas (RFC 7643, sections 2 and 7)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute or sub-attribute, with its characteristics (RFC 7643, section 7). `parts` by lower-case name."""

    name: str
    description: str
    type: str = "string"
    multi: bool = False
    required: bool = False
    exact: bool = False
    mutability: str = "readWrite"
    returned: str = "default"
    uniqueness: str = "none"
    canonical: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    parts: Mapping[str, "Attribute"] = field(default_factory=dict)

    @property
    def is_complex(self) -> bool:
        return self.type == "complex"

    @property
    def is_read_only(self) -> bool:
        return self.mutability == "readOnly"

    def described(self) -> dict[str, Any]:
        """The attribute in the form of /Schemas."""
        shown: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.parts:
            shown["subAttributes"] = [each.described() for each in self.parts.values()]
        shown.update(multiValued=self.multi, description=self.description, required=self.required)
        if self.canonical:
            shown["canonicalValues"] = list(self.canonical)
        if self.references:
            shown["referenceTypes"] = list(self.references)
        shown.update(caseExact=self.exact, mutability=self.mutability, returned=self.returned)
        return {**shown, "uniqueness": self.uniqueness}


def by_name(attributes: Iterable[Attribute]) -> Mapping[str, Attribute]:
    return {each.name.lower(): each for each in attributes}


def one(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    """A single-valued attribute: complex if it has parts."""
    type_ = "complex" if parts else characteristics.pop("type", "string")
    return Attribute(name, description, type_, parts=by_name(parts), **characteristics)


def many(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    return one(name, description, *parts, multi=True, **characteristics)


def labelled(name: str, description: str, *types: str, value: Attribute | None = None) -> Attribute:
    """A multi-valued attribute with the parts of RFC 7643, section 2.4."""
    return many(
        name,
        description,
        value or one("value", "The value itself."),
        one("display", "A name for people."),
        one("type", "What it is for.", canonical=types),
        one("primary", "Whether it is the preferred one. True for one value at the most.", type="boolean"),
    )


def shown(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    """A read-only attribute."""
    return one(name, description, *parts, mutability="readOnly", **characteristics)


def link(name: str, description: str, *types: str, **characteristics: Any) -> Attribute:
    return one(name, description, type="reference", exact=True, references=types, **characteristics)


@dataclass(frozen=True, slots=True)
class Schema:
    id: str
    name: str
    description: str
    attributes: Mapping[str, Attribute]

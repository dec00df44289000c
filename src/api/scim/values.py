"""The values of attributes: from what clients send to what is stored.

Clients differ, so a value that can have only one meaning is accepted: "True" for true, an object for a list of one, a
single id for an object with a value. Unknown names are ignored. With `strict` all of these are refused. Read-only
attributes are ignored (RFC 7644, sections 3.3 and 3.5.1).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.scim.errors import invalid_syntax, invalid_value
from api.scim.schemas.attributes import Attribute
from api.scim.schemas.resources import ResourceType
from domain.values import flaw_in

Resource = dict[str, Any]
"""A resource as JSON, with names as in the schemas. It has all writable attributes that are assigned."""

COUNTRY: Final = re.compile("[A-Z]{2}", re.IGNORECASE)
TRUTHS: Final = {"true": True, "false": False}
BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def resource_in(body: object, type_: ResourceType, *, strict: bool) -> Resource:
    """The resource in the body of a POST or a PUT. Raises `Refused`."""
    members = object_of(body)
    if strict:
        require_own_schemas(members, type_)
    resource = {}
    for name, value in members.items():
        attribute = type_.attributes.get(name.lower())
        if attribute is None:
            ignore_unknown(strict=strict)
            continue
        if is_not_stored(attribute):
            continue
        if attribute.name in resource:
            raise invalid_syntax(f"{attribute.name} is given twice.")
        if (cleaned := clean(attribute, value, strict=strict)) is not None:
            resource[attribute.name] = cleaned
    require_required(resource, type_)
    return resource


def require_required(resource: Resource, type_: ResourceType) -> None:
    for attribute in type_.schema.attributes.values():
        if attribute.required and not str(resource.get(attribute.name, "")).strip():
            raise invalid_value(f"{attribute.name} is required.")


def is_not_stored(attribute: Attribute) -> bool:
    """Whether values from clients are ignored. `schemas` is computed from the other attributes."""
    return attribute.is_read_only or attribute.mutability == "writeOnly" or attribute.name == "schemas"


def object_of(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise invalid_syntax("The body must be a JSON object.")
    return body


def require_schemas(body: Mapping[str, Any], *wanted: str) -> None:
    """Raises `Refused` if the body does not name these schemas. Called only with `strict`."""
    named = schemas_named_in(body)
    for each in wanted:
        if each.lower() not in named:
            raise invalid_syntax(f"schemas must name {each}.")


def schemas_named_in(body: Mapping[str, Any]) -> Sequence[str]:
    """The names of the schemas in a body, in lower case."""
    named = next((value for name, value in body.items() if name.lower() == "schemas"), None)
    return [each.lower() for each in named if isinstance(each, str)] if isinstance(named, list) else []


def require_own_schemas(body: Mapping[str, Any], type_: ResourceType) -> None:
    """Raises `Refused` unless the body names exactly the schemas of its attributes, each once."""
    extensions = {each.id.lower(): each.id for each in type_.extensions}
    require_schemas(body, type_.schema.id, *(id for lower, id in extensions.items() if lower in map(str.lower, body)))
    given = schemas_named_in(body)
    if len(set(given)) < len(given) or not {*extensions, type_.schema.id.lower()}.issuperset(given):
        raise invalid_syntax("schemas must name schemas of this resource type, each once.")


def ignore_unknown(*, strict: bool) -> None:
    """Ignore an attribute that is in no schema. With `strict`, raises `Refused`."""
    if strict:
        raise invalid_syntax("An attribute is not in the schemas of this resource type.")


def clean(attribute: Attribute, value: Any, *, strict: bool) -> Any:
    """The value in its stored form. None if it is unassigned, which means null or empty. Raises `Refused`."""
    if value is None:
        return None
    if not attribute.multi:
        if isinstance(value, list) and len(value) == 1 and not strict:
            (value,) = value
        return clean_one(attribute, value, strict=strict)
    if not isinstance(value, list):
        if strict:
            raise invalid_value(f"{attribute.name} must be an array.")
        value = [value]
    cleaned = [clean_one(attribute, each, strict=strict) for each in value if each is not None]
    distinct = [each for number, each in enumerate(cleaned) if each is not None and each not in cleaned[:number]]
    if sum(1 for each in distinct if is_primary(each)) > 1:
        raise invalid_value(f"One value of {attribute.name} can be primary, not several.")
    return distinct or None


def clean_one(attribute: Attribute, value: Any, *, strict: bool) -> Any:
    if attribute.is_complex:
        return clean_parts(attribute, value, strict=strict)
    if attribute.type == "boolean":
        return clean_boolean(attribute, value, strict=strict)
    return clean_text(attribute, value, strict=strict)


def clean_parts(attribute: Attribute, value: Any, *, strict: bool) -> Any:
    cleaned: Resource = {}
    for name, member in members_of(attribute, value, strict=strict).items():
        part = attribute.parts.get(name.lower())
        if part is None:
            ignore_unknown(strict=strict)
            continue
        if part.is_read_only:
            continue
        if (kept := clean(part, member, strict=strict)) is not None:
            cleaned[part.name] = kept
    return in_order(attribute, cleaned) or None


def members_of(attribute: Attribute, value: Any, *, strict: bool) -> Mapping[str, Any]:
    """The members of a complex value. A scalar stands for an object with this `value`."""
    if isinstance(value, Mapping):
        return value
    if strict or "value" not in attribute.parts or isinstance(value, list):
        raise invalid_value(f"{attribute.name} must be an object.")
    return {"value": value}


def in_order(attribute: Attribute, value: Resource) -> Resource:
    """The parts in the order of the schema, so that the same value is always the same JSON."""
    return {part.name: value[part.name] for part in attribute.parts.values() if part.name in value}


def clean_boolean(attribute: Attribute, value: Any, *, strict: bool) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and not strict and value.lower() in TRUTHS:
        return TRUTHS[value.lower()]
    raise invalid_value(f"{attribute.name} must be true or false.")


def clean_text(attribute: Attribute, value: Any, *, strict: bool) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and not strict:
        value = str(value)
    if not isinstance(value, str):
        raise invalid_value(f"{attribute.name} must be a string.")
    if flaw := flaw_in(value):
        raise invalid_value(f"{attribute.name}: {flaw}")
    if strict and attribute.type == "binary" and not BASE64.fullmatch(value):
        raise invalid_value(f"{attribute.name} must be in base64.")
    if strict and attribute.name == "country" and not COUNTRY.fullmatch(value):
        raise invalid_value("country must be a code of two letters (ISO 3166-1 alpha-2).")
    return value


def is_primary(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("primary") is True


def with_one_primary(values: Sequence[Resource], before: Sequence[Resource]) -> list[Resource]:
    """The values. If another one has become primary, those that were primary before are no longer."""
    was = [each for each in before if is_primary(each)]
    new = [each for each in values if is_primary(each) and each not in was]
    if not new:
        return list(values)
    return [{**each, "primary": False} if is_primary(each) and each is not new[-1] else each for each in values]

"""Reading the operations of a PATCH (RFC 7644, section 3.5.2)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from api.scim.errors import Refused, invalid_path, invalid_syntax, invalid_value, unchangeable
from api.scim.schemas.resources import MESSAGE, ResourceType
from api.scim.syntax.paths import Target, target_of
from api.scim.values import is_not_stored, object_of, require_schemas

PATCH_OP: Final = f"{MESSAGE}PatchOp"
MAX_OPERATIONS: Final = 1000


class Op(StrEnum):
    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation. Without a target it is about the resource itself."""

    op: Op
    target: Target | None
    value: Any = None


def operations_in(body: object, type_: ResourceType, *, strict: bool) -> Sequence[Operation]:
    """The operations in the body of a PATCH. Raises `Refused` and `Malformed`."""
    members = object_of(body)
    if strict:
        require_schemas(members, PATCH_OP)
    given = next((value for name, value in members.items() if name.lower() == "operations"), None)
    if not isinstance(given, list) or not given:
        raise invalid_syntax("Operations must be an array of at least one operation.")
    if len(given) > MAX_OPERATIONS:
        raise invalid_syntax(f"A request has at most {MAX_OPERATIONS} operations.")
    return [operation for each in given for operation in operations_of(each, type_, strict=strict)]


def operations_of(given: object, type_: ResourceType, *, strict: bool) -> Iterator[Operation]:
    members = {name.lower(): value for name, value in object_of(given).items()}
    op = op_in(members.get("op"), strict=strict)
    path, value = members.get("path"), members.get("value")
    if op is not Op.REMOVE and "value" not in members:
        raise invalid_value(f"The operation {op} needs a value.")
    if strict and op is Op.REMOVE and "value" in members:
        raise invalid_syntax("The operation remove has no value: select values by a filter in the path.")
    if path is None or path == "":
        if op is Op.REMOVE:
            raise Refused("The operation remove needs a path.", "noTarget")
        if strict:
            raise invalid_syntax("Each operation needs a path.")
        yield from without_path(op, value, type_)
        return
    if not isinstance(path, str):
        raise invalid_path("A path is a string.")
    target = target_of(path, type_, strict=strict)
    require_writable(target)
    yield Operation(op, target, value)


def op_in(value: object, *, strict: bool) -> Op:
    op = value if strict or not isinstance(value, str) else value.lower()
    if op not in list(Op):
        raise invalid_syntax("op must be add, remove or replace.")
    return Op(str(op))


def without_path(op: Op, value: object, type_: ResourceType) -> Iterator[Operation]:
    """An operation for each attribute of the value. Names may be paths. Attributes that a POST ignores are ignored."""
    if not isinstance(value, Mapping):
        raise invalid_value("Without a path, the value must be an object.")
    for name, member in value.items():
        try:
            target = target_of(name, type_, strict=False)
        except Refused:
            continue
        if not any(is_not_stored(each) for each in target.steps):
            yield Operation(op, target, member)


def require_writable(target: Target) -> None:
    steps = (*target.steps, target.part) if target.part else target.steps
    for attribute in steps:
        if attribute.is_read_only:
            raise unchangeable(attribute.name)

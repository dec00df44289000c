"""Members of groups as clients name, add and remove them."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from api.scim.answers import location
from api.scim.errors import Refused, invalid_value, unchangeable
from api.scim.filters import id_of
from api.scim.patching import Op, Operation
from api.scim.schemas.resources import GROUPS, USERS
from api.scim.values import clean
from domain.groups import Group
from domain.lists.filters import And, Comparison, Filter, Nothing, Operator, Or
from domain.provisioning import MembersPatch
from domain.references import Subject
from domain.users import User

MEMBER: Final = GROUPS.attributes["members"]

KINDS: Final[Mapping[str, Any]] = {User.kind: USERS, Group.kind: GROUPS}


def shown_member(kind: str, id: int, base: str) -> Mapping[str, str]:
    return {"value": str(id), "$ref": location(KINDS[kind], base, id), "type": KINDS[kind].name}


def members_in(values: Iterable[Mapping[str, Any]]) -> set[Subject]:
    """The members that a client names. Without a type, a member is a user. Raises `Refused`."""
    return {member_in(each) for each in values}


def member_in(value: Mapping[str, Any]) -> Subject:
    id = id_of(value.get("value", "") or last_of(value.get("$ref", "")))
    if id is None:
        raise invalid_value("A member is named by the id of a user or of a group.")
    return kind_in(value), id


def last_of(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]


def kind_in(value: Mapping[str, Any]) -> str:
    is_group = value.get("type", "").lower() == "group" or "/groups/" in value.get("$ref", "").lower()
    return Group.kind if is_group else User.kind


def patch_of(operations: Sequence[Operation], *, strict: bool) -> tuple[Sequence[Operation], MembersPatch]:
    """The operations on the group itself, and what all others do to its members."""
    own, members = [], MembersPatch()
    for each in operations:
        if each.target is None or each.target.steps[0] is not MEMBER:
            own.append(each)
        else:
            members = patched_members(members, each, strict=strict)
    return own, members


def patched_members(before: MembersPatch, operation: Operation, *, strict: bool) -> MembersPatch:
    target = operation.target
    assert target is not None  # noqa: S101  # only such operations come here
    if len(target.steps) > 1 or target.part is not None:
        raise unchangeable(f"members.{target.steps[-1].name if target.part is None else target.part.name}")
    op = Op.REMOVE if operation.value is None else operation.op
    if target.selector is not None:
        return selected(before, op, selected_by(target.selector))
    given = members_in(clean(MEMBER, operation.value, strict=strict) or ())
    match op:
        case Op.ADD:
            return before.then_add(given)
        case Op.REMOVE if operation.value is not None:
            return before.then_remove(given)
    return MembersPatch(add=given, replaces=True)


def selected(before: MembersPatch, op: Op, members: AbstractSet[Subject]) -> MembersPatch:
    if op is Op.REPLACE:
        raise unchangeable("A member")
    return (
        before.then_add({each for each in members if each[0] == User.kind})
        if op is Op.ADD
        else before.then_remove(members)
    )


def selected_by(selector: Filter) -> set[Subject]:
    """The members that a filter names by their values: the user and the group of an id, unless it names a type."""
    match selector:
        case Or(parts):
            return {each for part in parts for each in selected_by(part)}
        case And(parts):
            by_value = [part for part in parts if not is_about_type(part)]
            if len(by_value) == 1:
                kinds = {type_named(part) for part in parts if is_about_type(part)}
                return {each for each in selected_by(by_value[0]) if kinds <= {each[0]}}
        case Comparison(operator=Operator.EQ, value=value, path=("value",)):
            id = id_of(value)
            return set() if id is None else {(User.kind, id), (Group.kind, id)}
        case Nothing():
            return set()
    raise Refused("Members are selected by their value, and by their type beside it.", "invalidFilter")


def is_about_type(filter: Filter) -> bool:
    return isinstance(filter, Comparison) and filter.path == ("type",) and filter.operator is Operator.EQ


def type_named(filter: Filter) -> str:
    return str(filter.value) if isinstance(filter, Comparison) else ""

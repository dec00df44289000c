"""The members of groups in requests."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final

from api.scim.answers import location
from api.scim.errors import invalid_value, unchangeable
from api.scim.operations import Op, Operation
from api.scim.schemas.resources import GROUPS, USERS
from api.scim.syntax.literals import id_of
from api.scim.values import clean
from domain.groups import Group
from domain.lists.filters import ITEM, And, Comparison, Element, Filter, Not, Operator, Or, matches
from domain.provisioning import MembersPatch
from domain.references import Subject
from domain.users import User
from domain.values import fold

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
    """The operations on the group itself, and the effect of all other operations on its members."""
    own, members = [], MembersPatch()
    for each in operations:
        if each.target is None or each.target.steps[0] is not MEMBER:
            own.append(each)
        else:
            members = patched_members(members, each, strict=strict)
    return own, members


def patched_members(before: MembersPatch, operation: Operation, *, strict: bool) -> MembersPatch:
    target = operation.target
    assert target is not None  # noqa: S101  # only operations with a target come here
    if len(target.steps) > 1 or target.part is not None:
        raise unchangeable(f"members.{target.steps[-1].name if target.part is None else target.part.name}")
    op = Op.REMOVE if operation.value is None else operation.op
    if target.selector is not None:
        return selected(before, op, target.selector)
    given = members_in(clean(MEMBER, operation.value, strict=strict) or ())
    match op:
        case Op.ADD:
            return before.then_add(given)
        case Op.REMOVE if operation.value is not None:
            return before.then_remove(given)
    return MembersPatch(add=given, replaces=True)


def selected(before: MembersPatch, op: Op, selector: Filter) -> MembersPatch:
    """The effect of an operation on the members that a filter selects. If it selects by id, the other members need not
    be read."""
    if op is Op.REPLACE:
        raise unchangeable("A member")
    selector = without_addresses(selector)
    named = named_by(selector)
    if op is Op.ADD:
        return before.then_add({each for each in named or () if each[0] == User.kind})
    return before.then_remove_matching(partial(is_selected, selector)) if named is None else before.then_remove(named)


def without_addresses(selector: Filter) -> Filter:
    """The same filter, with the URL of a member replaced by its type and id."""
    match selector:
        case Comparison(operator=Operator.EQ, value=value, path=("$ref",)):
            _, endpoint, id = f"//{value}".rsplit("/", 2)
            return And((equal("type", endpoint.lower().removesuffix("s")), equal("value", id)))
        case Not(part):
            return Not(without_addresses(part))
        case And(parts):
            return And(tuple(map(without_addresses, parts)))
        case Or(parts):
            return Or(tuple(map(without_addresses, parts)))
    return selector


def equal(part: str, value: str) -> Filter:
    return Comparison(ITEM, Operator.EQ, value, (part,))


def named_by(selector: Filter) -> AbstractSet[Subject] | None:
    """The members that a filter names by id: the user and the group with this id, unless it names a type.

    None if the filter selects members in another way.
    """
    match selector:
        case Or(parts):
            named = [each for part in parts if (each := named_by(part)) is not None]
            return frozenset().union(*named) if len(named) == len(parts) else None
        case And(parts):
            named = [each for part in parts if (each := named_by(part)) is not None]
            return frozenset(each for each in named[0] if is_selected(selector, each)) if named else None
        case Comparison(operator=Operator.EQ, value=value, path=("value",)):
            id = id_of(value)
            return frozenset() if id is None else frozenset({(User.kind, id), (Group.kind, id)})
    return None


def is_selected(selector: Filter, member: Subject) -> bool:
    """Whether a filter selects a member. Only the end of its URL is known here: the beginning depends on the caller."""
    kind, id = member
    of_kind = KINDS[kind]
    element = {"value": str(id), "$ref": location(of_kind, "", id), "type": fold(of_kind.name)}
    return matches(selector, Element(element))

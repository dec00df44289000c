"""/Groups: a group of the directory with its members (RFC 7643, section 4.2).

Members are rows of their own in the directory, so a change of them is never a change of the whole group: a patch says
who is to be added, and who is to be removed.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from fastapi import Response

from api.scim.answers import answer, location, tag_of, time
from api.scim.calls import Action, Actions, Call
from api.scim.errors import Refused, invalid_value, unchangeable
from api.scim.filters import Column, Constant, Unfiltered, Unknown, id_of, same
from api.scim.lists import Listed, answer_query
from api.scim.patching import Op, Operation, operations_in, patched
from api.scim.schemas import GROUPS, USERS, Attribute, Steps
from api.scim.shown import Projection
from api.scim.values import Resource, clean, resource_in
from domain.fields import Field, Path
from domain.filters import And, Comparison, Filter, Nothing, Operator, Or, Present
from domain.grammar import Names, Term, Token
from domain.groups import FIELDS, MEMBERS, Group, NewGroup
from domain.provisioning import GroupWithMembers, MembersPatch
from domain.references import Subject
from domain.users import User
from services.provisioning import ProvisioningService

MEMBER: Final = GROUPS.attributes["members"]
KINDS: Final[Mapping[str, Any]] = {User.kind: USERS, Group.kind: GROUPS}


def resource_of(group: Group) -> Resource:
    """Without its members."""
    external = {} if group.external_id is None else {"externalId": group.external_id}
    return {"displayName": group.name, **external}


def new_group(resource: Resource) -> NewGroup:
    return NewGroup(name=resource["displayName"], external_id=resource.get("externalId") or None)


def changed(group: Group, resource: Resource) -> Group:
    return group.revised(name=resource["displayName"], external_id=resource.get("externalId") or None)


def shown(whole: GroupWithMembers, base: str, projection: Projection) -> Mapping[str, Any]:
    group = whole.group
    members = [shown_member(kind, id, base) for kind, id in whole.members or ()]
    return projection.of_resource({
        "schemas": [GROUPS.schema.id],
        "id": str(group.id),
        **resource_of(group),
        **({"members": members} if members else {}),
        "meta": {
            "resourceType": GROUPS.name,
            "created": time(group.created_at),
            "lastModified": time(whole.changed_at),
            "location": location(GROUPS, base, group.id),
            "version": tag_of(whole.revision),
        },
    })  # fmt: skip


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


def column(name: str, field: str, **options: Any) -> Term:
    steps = GROUPS.steps_to(name)
    assert steps is not None  # noqa: S101  # names of this module
    return Column(steps[-1], FIELDS[field], **{"convert": same, **options})


COLUMNS: Final[Mapping[Path, Term]] = {
    ("id",): column("id", "id", convert=id_of, only_equal=True),
    ("externalId",): column("externalId", "external_id"),
    ("displayName",): column("displayName", "name"),
    ("meta", "created"): column("meta.created", "created_at"),
}
SORTED_BY: Final[Mapping[Path, Field]] = {
    ("id",): FIELDS["id"],
    ("externalId",): FIELDS["external_id"],
    ("displayName",): FIELDS["name"],
    ("meta", "created"): FIELDS["created_at"],
}


def field_of(steps: Steps) -> Field | None:
    return SORTED_BY.get(tuple(each.name for each in steps))


class GroupNames(Names):
    """The attributes of groups."""

    def term(self, name: Token) -> Term:
        steps = GROUPS.steps_to(name.text)
        if steps is None:
            return Unknown()
        path = tuple(each.name for each in steps)
        if path in COLUMNS:
            return COLUMNS[path]
        if path in {("members",), ("members", "value")}:
            return Members(steps[-1].parts.get("value", steps[-1]))
        if path in {("meta", "resourceType"), ("schemas",)}:
            return Constant(steps[-1], GROUPS.name if len(path) > 1 else GROUPS.schema.id)
        return Unfiltered(steps[-1])


class Members(Column):
    """The users among the members, by their ids."""

    def __init__(self, value: Attribute) -> None:
        super().__init__(value, MEMBERS, id_of, only_equal=True)

    def present(self) -> Filter:
        return Present(MEMBERS)

    def names_within(self, opening: Token) -> Names:  # noqa: ARG002
        return MemberNames()


class MemberNames:
    def term(self, name: Token) -> Term:
        match name.text.lower():
            case "value":
                return Members(MEMBER.parts["value"])
            case "type":
                return Constant(MEMBER.parts["type"], USERS.name)
            case "$ref":
                return Unfiltered(MEMBER.parts["$ref"])
        return Unknown()


NAMES: Final = GroupNames()


def groups_listed(call: Call) -> Listed:
    async def show(groups: Sequence[Group], projection: Projection) -> list[Mapping[str, Any]]:
        wholes = await call.groups.with_members(groups, members=projection.shows("members"))
        return [shown(each, call.base, projection) for each in wholes]

    return Listed(GROUPS, NAMES, field_of, call.groups, show)


def projection_of(call: Call) -> Projection:
    return Projection.of(call.query.attributes, call.query.excluded, GROUPS)


def headers_of(call: Call, id: int, revision: int) -> dict[str, str]:
    return {"ETag": tag_of(revision), "Location": location(GROUPS, call.base, id)}


async def one(call: Call, id: int, status: int = 200) -> Response:
    projection = projection_of(call)
    whole = await call.groups.get(id, members=projection.shows("members"))
    return answer(shown(whole, call.base, projection), status, headers_of(call, id, whole.revision))


async def list_groups(call: Call) -> Response:
    return answer(await answer_query(call.query, call.path, [groups_listed(call)]))


async def search_groups(call: Call) -> Response:
    return answer(await answer_query(await call.search(), call.path, [groups_listed(call)]))


async def create_group(call: Call) -> Response:
    resource = resource_in(await call.body(), GROUPS, strict=call.strict)
    members = members_in(resource.pop("members", ()))
    created = (await call.groups.create(new_group(resource), members)).result
    return await one(call, created.id, 201)


async def get_group(call: Call) -> Response:
    projection = projection_of(call)
    whole = await call.groups.get(call.id, members=projection.shows("members"))
    headers = headers_of(call, whole.group.id, whole.revision)
    if call.has(whole.revision):
        return Response(status_code=304, headers=headers)
    return answer(shown(whole, call.base, projection), 200, headers)


async def replace_group(call: Call) -> Response:
    resource = resource_in(await call.body(), GROUPS, strict=call.strict)
    members = MembersPatch(add=members_in(resource.pop("members", ())), replaces=True)
    await call.groups.change(call.id, lambda group: changed(group, resource), members, expected=call.expected)
    return await one(call, call.id)


async def patch_group(call: Call) -> Response:
    """204, so that the answer does not grow with the group, unless the client asks for attributes."""
    own, members = patch_of(operations_in(await call.body(), GROUPS, strict=call.strict), strict=call.strict)

    def after(group: Group) -> Group:
        return changed(group, patched(resource_of(group), own, GROUPS, strict=call.strict)) if own else group

    committed = await call.groups.change(call.id, after, members, expected=call.expected)
    if call.query.attributes or call.query.excluded:
        return await one(call, call.id)
    revision = committed.seq or (await call.groups.get(call.id, members=False)).revision
    return Response(status_code=204, headers=headers_of(call, call.id, revision))


async def delete_group(call: Call) -> Response:
    await call.groups.delete(call.id, expected=call.expected)
    return Response(status_code=204)


COLLECTION: Final[Actions] = {
    "GET": Action.of(list_groups, ProvisioningService.list, ProvisioningService.count),
    "POST": Action.of(create_group, ProvisioningService.create, ProvisioningService.get),
}
SEARCH: Final[Actions] = {"POST": Action.of(search_groups, ProvisioningService.list, ProvisioningService.count)}
ONE: Final[Actions] = {
    "GET": Action.of(get_group, ProvisioningService.get),
    "PUT": Action.of(replace_group, ProvisioningService.change, ProvisioningService.get),
    "PATCH": Action.of(patch_group, ProvisioningService.change, ProvisioningService.get),
    "DELETE": Action.of(delete_group, ProvisioningService.delete),
}

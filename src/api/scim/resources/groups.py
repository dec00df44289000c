"""/Groups: a group of the directory with its members (RFC 7643, section 4.2).

In the directory each member is a separate row. So a change of members never writes the whole group: a patch is
translated into members to add and members to remove.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Response

from api.scim.answers import answer, location, tag_of, time
from api.scim.calls import Action, Actions, Call
from api.scim.lists import Listed, answer_query
from api.scim.operations import operations_in
from api.scim.patching import patched
from api.scim.resources.group_terms import NAMES, field_of
from api.scim.resources.members import members_in, patch_of, shown_member
from api.scim.schemas.resources import GROUPS
from api.scim.shown import Projection
from api.scim.values import Resource, resource_in
from domain.groups import Group, NewGroup
from domain.provisioning import GroupWithMembers, MembersPatch
from services.provisioning import ProvisioningService


def resource_of(group: Group) -> Resource:
    """The resource of a group, without its members."""
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
    return whole_answer(call, whole, projection, status)


def whole_answer(call: Call, whole: GroupWithMembers, projection: Projection, status: int = 200) -> Response:
    address = location(GROUPS, call.base, whole.group.id)
    headers = {**headers_of(call, whole.group.id, whole.revision), "Content-Location": address}
    return answer(shown(whole, call.base, projection), status, headers)


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
    if call.has(whole.revision):
        return Response(status_code=304, headers=headers_of(call, whole.group.id, whole.revision))
    return whole_answer(call, whole, projection)


async def replace_group(call: Call) -> Response:
    resource = resource_in(await call.body(), GROUPS, strict=call.strict)
    members = MembersPatch(add=members_in(resource.pop("members", ())), replaces=True)
    await call.groups.change(call.id, lambda group: changed(group, resource), members, expected=call.expected)
    return await one(call, call.id)


async def patch_group(call: Call) -> Response:
    """Change a group. The answer is a 204, so that it does not grow with the group, unless the client asks for
    attributes."""
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

"""/Users: the users of the directory (RFC 7643, section 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Response

from api.scim.answers import answer, location, meta, validators
from api.scim.calls import Action, Actions, Call
from api.scim.lists import Listed, answer_query
from api.scim.operations import operations_in
from api.scim.patching import patched
from api.scim.resources.people import changed, new_user, resource_of
from api.scim.resources.user_terms import NAMES, field_of
from api.scim.schemas.resources import GROUPS, USERS
from api.scim.shown import Projection
from api.scim.values import Resource, resource_in
from domain.groups import Group
from domain.users import User
from services.users import UserService


def shown(user: User, groups: Sequence[Group], base: str, projection: Projection) -> Mapping[str, Any]:
    resource = resource_of(user)
    whole = {
        "schemas": USERS.schemas_of(resource),
        "id": str(user.id),
        **resource,
        **({"groups": [shown_group(each, base) for each in groups]} if groups else {}),
        "meta": meta(USERS, base, user, user.version),
    }
    return projection.of_resource(whole)


def shown_group(group: Group, base: str) -> Mapping[str, str]:
    address = location(GROUPS, base, group.id)
    return {"value": str(group.id), "$ref": address, "display": group.name, "type": "direct"}


async def all_shown(call: Call, users: Sequence[User], projection: Projection) -> list[Mapping[str, Any]]:
    """The users, with their groups if the caller may read groups."""
    is_asked = projection.shows("groups") and call.sees_groups and users
    groups = await call.groups.groups_of([each.id for each in users]) if is_asked else {}
    return [shown(each, groups.get(each.id, ()), call.base, projection) for each in users]


def users_listed(call: Call) -> Listed:
    async def show(users: Sequence[User], projection: Projection) -> list[Mapping[str, Any]]:
        return await all_shown(call, users, projection)

    return Listed(USERS, NAMES, field_of, call.users, show)


async def one(call: Call, user: User, status: int = 200) -> Response:
    query = call.query
    (body,) = await all_shown(call, [user], Projection.of(query.attributes, query.excluded, USERS))
    address = location(USERS, call.base, user.id)
    headers = {**validators(user, user.version), "Location": address, "Content-Location": address}
    return answer(body, status, headers)


async def list_users(call: Call) -> Response:
    return answer(await answer_query(call.query, call.path, [users_listed(call)]))


async def create_user(call: Call) -> Response:
    new = new_user(resource_in(await call.body(), USERS, strict=call.strict))
    return await one(call, (await call.users.enrol(new)).result, 201)


async def get_user(call: Call) -> Response:
    user = await call.users.get(call.id)
    if call.has(user.version):
        return Response(status_code=304, headers=validators(user, user.version))
    return await one(call, user)


async def replace_user(call: Call) -> Response:
    """Replace a user. Attributes that the body leaves out are removed, except for `active`: leaving it out must not
    reactivate a suspended user."""
    resource = resource_in(await call.body(), USERS, strict=call.strict)

    def replaced(user: User) -> User:
        return changed(user, {**active_of(user), **resource})

    return await one(call, (await call.users.change(call.id, replaced, expected=call.expected)).result)


def active_of(user: User) -> Resource:
    return {name: value for name, value in resource_of(user).items() if name == "active"}


async def patch_user(call: Call) -> Response:
    operations = operations_in(await call.body(), USERS, strict=call.strict)

    def after(user: User) -> User:
        return changed(user, patched(resource_of(user), operations, USERS, strict=call.strict))

    return await one(call, (await call.users.change(call.id, after, expected=call.expected)).result)


async def delete_user(call: Call) -> Response:
    await call.users.delete(call.id, expected=call.expected)
    return Response(status_code=204)


async def search_users(call: Call) -> Response:
    return answer(await answer_query(await call.search(), call.path, [users_listed(call)]))


COLLECTION: Final[Actions] = {
    "GET": Action.of(list_users, UserService.list, UserService.count),
    "POST": Action.of(create_user, UserService.enrol),
}
SEARCH: Final[Actions] = {"POST": Action.of(search_users, UserService.list, UserService.count)}
ONE: Final[Actions] = {
    "GET": Action.of(get_user, UserService.get),
    "PUT": Action.of(replace_user, UserService.change),
    "PATCH": Action.of(patch_user, UserService.change),
    "DELETE": Action.of(delete_user, UserService.delete),
}

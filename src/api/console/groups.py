"""Groups in the console: their members, and nested groups."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.forms import Fields
from api.console.pages import COUNTED, Form, faults_in, number, quickly, render, route, service, to
from api.console.people.listing import users_of
from api.console.people.search import matching, named
from api.web.cursors import read_cursor, write_cursor
from domain.errors import Conflict, Invalid, Malformed, Stale
from domain.groups import FIELDS, Group, NewGroup
from domain.lists.filters import equal, every, negated
from domain.lists.pages import BY_ID, parse_sort
from domain.lists.terms import parse_filter
from domain.nestings import Cycle
from domain.users import GROUPS, User
from services.groups import GroupService
from services.memberships import MembershipService

SHOWN: Final = 50
SUGGESTED: Final = 8
MAX_DEPTH: Final = 4
"""How many levels of nested groups are shown. Each group has its own page."""

BY_NAME: Final = parse_sort("name", FIELDS)
FORM: Final = Fields(
    noun="group",
    path="/groups",
    texts={"name": "Name", "description": "Description", "external_id": "External id"},
)


def groups_of(request: Request) -> GroupService:
    return service(request, lambda container: container.groups)


def members_of(request: Request) -> MembershipService:
    return service(request, lambda container: container.memberships)


async def list_groups(request: Request) -> Response:
    asked = {"q": request.query_params.get("q", "").strip()}
    of, cursor = json.dumps({"groups": asked}), request.query_params.get("cursor")
    filter = parse_filter(f"name co {json.dumps(asked['q'])}", FIELDS) if asked["q"] else None
    after = None if cursor is None else read_cursor(cursor, of, BY_NAME)
    groups, members = groups_of(request), members_of(request)
    found = await groups.list(filter=filter, sort=BY_NAME, after=after, limit=SHOWN)
    return render(
        request,
        "group_rows.html" if "rows" in request.query_params else "groups.html",
        groups=found.items,
        counts={group.id: await members.count(group.id, most=COUNTED + 1) for group in found.items},
        asked=asked,
        next=write_cursor(BY_NAME.position(found.items[-1]), of) if found.more else None,
    )


async def show_group(request: Request) -> Response:
    """The page of a group. With `rows`, only the suggestions, which replace those on the page."""
    id = number(request.path_params["id"], 0)
    if "rows" not in request.query_params:
        return await group_page(request, id)
    suggested = await suggestions(request, id)
    return render(
        request, "suggested.html", group=await groups_of(request).get(id), asked=add_in(request), suggested=suggested
    )


async def group_page(request: Request, id: int, status: int = 200, reason: str = "") -> Response:
    """A page with members, nested groups, and suggestions of members to add."""
    groups, group = groups_of(request), await groups_of(request).get(id)
    of, cursor = f"members of {id}", request.query_params.get("cursor")
    after = None if cursor is None else read_cursor(cursor, of, BY_ID)
    found = await members_of(request).list(id, after=after, limit=SHOWN)
    names: dict[int, str] = {}
    suggested: Sequence[User] = ()
    if request.state.session.may("users:read"):
        users = await users_of(request).list(filter=equal(GROUPS, id), after=after, limit=SHOWN)
        names = {user.id: user.name for user in users.items}
        suggested = await suggestions(request, id)
    return render(
        request,
        "group.html",
        status,
        group=group,
        members=found.items,
        names=names,
        count=await members_of(request).count(id, most=COUNTED + 1),
        next=write_cursor((found.items[-1].user_id,), of) if found.more else None,
        tree=await tree_of(groups, id),
        asked=add_in(request),
        suggested=suggested,
        reason=reason,
    )


def add_in(request: Request) -> str:
    return request.query_params.get("add", "").strip()


async def suggestions(request: Request, id: int) -> Sequence[User]:
    """People who match the search and are not direct members yet.

    If the search takes too long, only people with exactly this name or identifier.
    """
    if not (text := add_in(request)):
        return ()
    outside = negated(equal(GROUPS, id))
    users = users_of(request)
    found = await quickly(request, users.list(filter=every([matching(text), outside]), limit=SUGGESTED))
    return await named(users, text, outside) if found is None else found.items


async def tree_of(groups: GroupService, id: int, depth: int = 1) -> list[tuple[Group, Any]]:
    children = (await groups.list_children(id, limit=SHOWN)).items
    return [(child, await tree_of(groups, child.id, depth + 1) if depth < MAX_DEPTH else []) for child in children]


async def new_group(request: Request) -> Response:
    return FORM.page(request, None, {})


async def create_group(request: Request) -> Response:
    form: Form = request.state.form
    try:
        created = await groups_of(request).create(NewGroup(**FORM.texts_in(form)))
    except (Invalid, Conflict) as refusal:
        return FORM.page(request, None, form, faults_in(refusal), status=422)
    return to(request, f"/groups/{created.result.id}")


async def edit_group(request: Request) -> Response:
    group = await groups_of(request).get(number(request.path_params["id"], 0))
    return FORM.page(request, group, FORM.texts_of(group))


async def save_group(request: Request) -> Response:
    """Store an edit. If it was made on an older version, it is not stored, and both versions are shown."""
    form: Form = request.state.form
    group = await groups_of(request).get(number(request.path_params["id"], 0))
    try:
        await groups_of(request).patch(group.id, FORM.texts_in(form), expected=(number(form.get("version"), 0),))
    except Stale:
        group = await groups_of(request).get(group.id)
        return FORM.page(request, group, form, stored=FORM.texts_of(group), status=409)
    except (Invalid, Conflict) as refusal:
        return FORM.page(request, group, form, faults_in(refusal), status=422)
    return to(request, f"/groups/{group.id}")


async def act_on_group(request: Request) -> Response:
    id, action = number(request.path_params["id"], 0), request.path_params["action"]
    if action not in ACTIONS:
        raise Malformed("There is no such action.")
    try:
        await ACTIONS[action](request, id, request.state.form)
    except (Conflict, Invalid, Cycle) as refusal:
        return await group_page(request, id, 409, refusal.detail)
    return to(request, "/groups" if action == "delete" else f"/groups/{id}")


async def add_member(request: Request, id: int, form: Form) -> None:
    role = form.get("role", "").strip()
    await members_of(request).put(id, number(form.get("user"), 0), {"role": role} if role else None)


async def remove_member(request: Request, id: int, form: Form) -> None:
    await members_of(request).remove(id, number(form.get("user"), 0))


async def nest(request: Request, id: int, form: Form) -> None:
    child = await groups_of(request).find("name", form.get("name", ""))
    await groups_of(request).nest(id, child.id)


async def unnest(request: Request, id: int, form: Form) -> None:
    await groups_of(request).unnest(id, number(form.get("child"), 0))


async def delete(request: Request, id: int, _: Form) -> None:
    await groups_of(request).delete(id)


ACTIONS: Final[Mapping[str, Callable[[Request, int, Form], Awaitable[None]]]] = {
    "add": add_member,
    "remove": remove_member,
    "nest": nest,
    "unnest": unnest,
    "delete": delete,
}


ROUTES: Final = (
    route("/groups", list_groups),
    route("/groups/new", new_group),
    route("/groups/new", create_group, methods=("POST",)),
    route("/groups/{id}", show_group),
    route("/groups/{id}/edit", edit_group),
    route("/groups/{id}/edit", save_group, methods=("POST",)),
    route("/groups/{id}/{action}", act_on_group, methods=("POST",)),
)

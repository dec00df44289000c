"""People in the console: a list that is searched while one types, and a page for each with all that happened to it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import Form, faults_in, number, render, route, service, to
from api.web.cursors import read_cursor, write_cursor
from domain.changes import Change, plain
from domain.entities import profile_of
from domain.errors import Conflict, Fault, Invalid, Malformed, Stale
from domain.lists.filters import Filter, every
from domain.lists.pages import MAX_LIMIT, parse_sort
from domain.lists.terms import parse_filter
from domain.users import FIELDS, NewUser, Status, User
from domain.values import JsonObject, JsonValue
from services.users import UserService

if TYPE_CHECKING:
    from domain.nestings import Reached

SHOWN: Final = 50
SEARCHED: Final = ("name", "email", "username", "external_id")
SORTS: Final[Mapping[str, str]] = {
    "id": "Oldest first",
    "-created_at": "Newest first",
    "-updated_at": "Last changed first",
    "name": "By name",
}
TEXTS: Final[Mapping[str, str]] = {
    "name": "Name",
    "email": "E-mail",
    "username": "Username",
    "external_id": "External id",
}
STATUSES: Final = tuple(Status)


def users_of(request: Request) -> UserService:
    return service(request, lambda container: container.users)


def search(text: str, status: str) -> Filter | None:
    """Whoever has this text in a name or an identifier. Raises `Malformed`."""
    quoted = json.dumps(text)
    found = parse_filter(" or ".join(f"{field} co {quoted}" for field in SEARCHED), FIELDS) if text else None
    return every([found, parse_filter(f"status eq {json.dumps(status)}", FIELDS) if status else None])


async def list_users(request: Request) -> Response:
    """With `rows`, only the rows: they take the place of those that the page shows."""
    asked = {name: request.query_params.get(name, "").strip() for name in ("q", "status", "sort")}
    asked["sort"] = asked["sort"] or "id"
    sort, of = parse_sort(asked["sort"], FIELDS), json.dumps(asked)
    cursor = request.query_params.get("cursor")
    found = await users_of(request).list(
        filter=search(asked["q"], asked["status"]),
        sort=sort,
        after=None if cursor is None else read_cursor(cursor, of, sort),
        limit=SHOWN,
    )
    return render(
        request,
        "user_rows.html" if "rows" in request.query_params else "users.html",
        users=found.items,
        asked=asked,
        next=write_cursor(sort.position(found.items[-1]), of) if found.more else None,
        sorts=SORTS,
        statuses=STATUSES,
    )


async def new_user(request: Request) -> Response:
    return form_page(request, None, {"status": Status.ACTIVE, "attributes": "{}"})


async def create_user(request: Request) -> Response:
    form: Form = request.state.form
    try:
        created = await users_of(request).create(NewUser(**profile_in(form)))
    except (Invalid, Conflict) as refusal:
        return form_page(request, None, form, faults_in(refusal), status=422)
    return to(request, f"/users/{created.result.id}")


async def show_user(request: Request) -> Response:
    """A deleted user is shown too, with the way back."""
    user = await users_of(request).get(id_of(request), hidden=True)
    return await user_page(request, user)


async def user_page(request: Request, user: User, status: int = 200, reasons: Sequence[str] = ()) -> Response:
    groups: Sequence[Reached] = ()
    if not user.is_hidden and request.state.session.may("groups:read"):
        groups = (await service(request, lambda container: container.groups).list_reached(user.id, limit=SHOWN)).items
    happened = await timeline(request, user.id)
    return render(
        request, "user.html", status, user=user, texts=TEXTS, timeline=happened, groups=groups, reasons=reasons
    )


async def timeline(request: Request, id: int) -> list[Change]:
    """All that happened, the newest first. Empty for who may not read it."""
    if not request.state.session.may("changes:read"):
        return []
    changes = service(request, lambda container: container.changes)
    return list((await changes.list_about(User, id, since=0, limit=MAX_LIMIT)).changes[::-1])


async def edit_user(request: Request) -> Response:
    user = await users_of(request).get(id_of(request))
    return form_page(request, user, form_with(user))


async def save_user(request: Request) -> Response:
    """An edit of an older version is not stored: both are shown, to choose."""
    form: Form = request.state.form
    users, id = users_of(request), id_of(request)
    user = await users.get(id)
    try:
        patch = difference(user, profile_in(form))
        await users.patch(id, patch, expected=(number(form.get("version"), 0),))
    except Stale:
        return form_page(request, await users.get(id), form, {}, newer=True, status=409)
    except (Invalid, Conflict) as refusal:
        return form_page(request, user, form, faults_in(refusal), status=422)
    return to(request, f"/users/{id}")


async def act_on_user(request: Request) -> Response:
    """Suspend, activate, delete, restore or erase a user, or bring back the values from before a change."""
    id, action = id_of(request), request.path_params["action"]
    if action not in ACTIONS:
        raise Malformed("There is no such action.")
    try:
        await ACTIONS[action](users_of(request), id, request)
    except (Conflict, Invalid) as refusal:
        user = await users_of(request).get(id, hidden=True)
        reasons = [f"{TEXTS.get(name, name)}: {reason}" for name, reason in faults_in(refusal).items()]
        return await user_page(request, user, 409, reasons)
    return to(request, "/users" if action == "erase" else f"/users/{id}")


async def suspend(users: UserService, id: int, _: Request) -> None:
    await users.patch(id, {"status": Status.SUSPENDED})


async def activate(users: UserService, id: int, _: Request) -> None:
    await users.patch(id, {"status": Status.ACTIVE})


async def delete(users: UserService, id: int, _: Request) -> None:
    await users.delete(id)


async def restore(users: UserService, id: int, _: Request) -> None:
    await users.restore(id)


async def erase(users: UserService, id: int, request: Request) -> None:
    user = await users.get(id, hidden=True)
    if request.state.form.get("name", "").strip() != user.name:
        raise Invalid([Fault("/name", "not_allowed", "Type the name exactly, to erase this person for ever.")])
    await users.purge(id)


async def go_back(users: UserService, id: int, request: Request) -> None:
    """Give the fields that a change altered the values that they had before it."""
    changes = service(request, lambda container: container.changes)
    seq = number(request.state.form.get("seq"), 0)
    found = (await changes.list_about(User, id, since=max(0, seq - 1), limit=1)).changes
    if not found or found[0].seq != seq or found[0].before is None:
        raise Malformed("There is nothing from before this change.")
    known = profile_of(NewUser)
    before = {name: value for name, value in found[0].before.items() if name in known}
    user = await users.get(id)
    await users.patch(id, difference(user, before), expected=(user.version,))


ACTIONS: Final[Mapping[str, Callable[[UserService, int, Request], Awaitable[None]]]] = {
    "suspend": suspend,
    "activate": activate,
    "delete": delete,
    "restore": restore,
    "erase": erase,
    "go-back": go_back,
}


def form_page(
    request: Request,
    user: User | None,
    form: Form,
    faults: Mapping[str, str] | None = None,
    *,
    newer: bool = False,
    status: int = 200,
) -> Response:
    """`newer` says that `user` was changed since the form was loaded: both are shown."""
    return render(
        request,
        "user_form.html",
        status,
        user=user,
        form=form,
        faults=faults or {},
        stored=form_with(user) if user is not None and newer else None,
        texts=TEXTS,
        statuses=STATUSES,
    )


def form_with(user: User) -> dict[str, str]:
    texts = {name: getattr(user, name) or "" for name in TEXTS}
    attributes = json.dumps(user.attributes, indent=2, ensure_ascii=False)
    return {**texts, "status": user.status, "attributes": attributes, "version": str(user.version)}


def profile_in(form: Form) -> dict[str, Any]:
    """The profile that a form has. Raises `Invalid` if the attributes are not JSON: the rules check the rest."""
    try:
        attributes = json.loads(form.get("attributes", "") or "{}")
    except (ValueError, RecursionError):
        raise Invalid([Fault("/attributes", "invalid", "Must be a JSON object.")]) from None
    texts = {name: form.get(name, "") or (None if name != "name" else "") for name in TEXTS}
    return {**texts, "status": form.get("status", Status.ACTIVE), "attributes": attributes}


def difference(user: User, wanted: Mapping[str, Any]) -> JsonObject:
    """The merge patch (RFC 7396) that gives a user these values. Attributes that are left out are removed."""
    patch = {name: value for name, value in wanted.items() if plain(getattr(user, name)) != plain(value)}
    if isinstance(patch.get("attributes"), dict):
        patch["attributes"] = merge_patch_to(user.attributes, patch["attributes"])
    return patch


def merge_patch_to(has: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    patch: dict[str, JsonValue] = {name: None for name in has if name not in wanted}
    for name, value in wanted.items():
        before = has.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            patch[name] = merge_patch_to(before, value)
        elif before != value or name not in has:
            patch[name] = value
    return patch


def id_of(request: Request) -> int:
    return number(request.path_params["id"], 0)


ROUTES: Final = (
    route("/users", list_users),
    route("/users/new", new_user),
    route("/users/new", create_user, methods=("POST",)),
    route("/users/{id}", show_user),
    route("/users/{id}/edit", edit_user),
    route("/users/{id}/edit", save_user, methods=("POST",)),
    route("/users/{id}/{action}", act_on_user, methods=("POST",)),
)

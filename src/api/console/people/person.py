"""The page of one person, and the actions on it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.forms import Fields
from api.console.names import actors_of
from api.console.pages import Form, faults_in, number, render, route, service, to
from api.console.people.listing import users_of
from api.console.people.timeline import difference, history, restore_version, undo
from domain.errors import Conflict, Fault, Invalid, Malformed, Stale
from domain.users import NewUser, Status, User
from services.users import UserService

if TYPE_CHECKING:
    from domain.nestings import Reached

GROUPS: Final = 100
"""How many groups of a person are shown."""

FIELDS: Final = Fields(
    noun="person",
    path="/users",
    texts={"name": "Name", "email": "E-mail", "username": "Username", "external_id": "External id"},
    template="user_form.html",
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
    """The page of a person. A deleted person is shown too, and can be restored."""
    user = await users_of(request).get(id_of(request), hidden=True)
    return await user_page(request, user)


async def user_page(request: Request, user: User, status: int = 200, reasons: Sequence[str] = ()) -> Response:
    groups: Sequence[Reached] = ()
    if not user.is_hidden and request.state.session.may("groups:read"):
        groups = (await service(request, lambda container: container.groups).list_reached(user.id, limit=GROUPS)).items
    return render(
        request,
        "user.html",
        status,
        user=user,
        texts=FIELDS.texts,
        groups=groups,
        names={reached.group.id: reached.group.name for reached in groups},
        history=await history(request, user.id),
        actors=await actors_of(request),
        reasons=reasons,
    )


async def edit_user(request: Request) -> Response:
    user = await users_of(request).get(id_of(request))
    return form_page(request, user, form_with(user))


async def save_user(request: Request) -> Response:
    """Store an edit. If it was made on an older version, it is not stored, and both versions are shown."""
    form: Form = request.state.form
    users, id = users_of(request), id_of(request)
    user = await users.get(id)
    try:
        patch = difference(user, profile_in(form))
        await users.patch(id, patch, expected=(number(form.get("version"), 0),))
    except Stale:
        user = await users.get(id)
        return form_page(request, user, form, stored=form_with(user), status=409)
    except (Invalid, Conflict) as refusal:
        return form_page(request, user, form, faults_in(refusal), status=422)
    return to(request, f"/users/{id}")


async def act_on_user(request: Request) -> Response:
    """Suspend, activate, delete, restore or erase a user, undo a change, or go back to a version."""
    id, action = id_of(request), request.path_params["action"]
    if action not in ACTIONS:
        raise Malformed("There is no such action.")
    try:
        await ACTIONS[action](request, users_of(request), id)
    except (Conflict, Invalid) as refusal:
        user = await users_of(request).get(id, hidden=True)
        reasons = [f"{FIELDS.texts.get(name, name)}: {reason}" for name, reason in faults_in(refusal).items()]
        return await user_page(request, user, 409, reasons)
    return to(request, "/users" if action == "erase" else f"/users/{id}")


async def suspend(_: Request, users: UserService, id: int) -> None:
    await users.patch(id, {"status": Status.SUSPENDED})


async def activate(_: Request, users: UserService, id: int) -> None:
    await users.patch(id, {"status": Status.ACTIVE})


async def delete(_: Request, users: UserService, id: int) -> None:
    await users.delete(id)


async def restore(_: Request, users: UserService, id: int) -> None:
    await users.restore(id)


async def erase(request: Request, users: UserService, id: int) -> None:
    user = await users.get(id, hidden=True)
    if request.state.form.get("name", "").strip() != user.name:
        raise Invalid([Fault("/name", "not_allowed", "Type the name exactly to erase this person permanently.")])
    await users.purge(id)


ACTIONS: Final[Mapping[str, Callable[[Request, UserService, int], Awaitable[None]]]] = {
    "suspend": suspend,
    "activate": activate,
    "delete": delete,
    "restore": restore,
    "erase": erase,
    "undo": undo,
    "restore-version": restore_version,
}


def form_page(
    request: Request,
    user: User | None,
    form: Form,
    faults: Mapping[str, str] | None = None,
    *,
    stored: Form | None = None,
    status: int = 200,
) -> Response:
    return FIELDS.page(request, user, form, faults, stored=stored, status=status, statuses=tuple(Status))


def form_with(user: User) -> dict[str, str]:
    attributes = json.dumps(user.attributes, indent=2, ensure_ascii=False)
    return {**FIELDS.texts_of(user), "status": user.status, "attributes": attributes}


def profile_in(form: Form) -> dict[str, Any]:
    """The profile in a form. Raises `Invalid` if the attributes are not JSON. The rules of the domain check everything
    else."""
    try:
        attributes = json.loads(form.get("attributes", "") or "{}")
    except (ValueError, RecursionError):
        raise Invalid([Fault("/attributes", "invalid", "Must be a JSON object.")]) from None
    return {**FIELDS.texts_in(form), "status": form.get("status", Status.ACTIVE), "attributes": attributes}


def id_of(request: Request) -> int:
    return number(request.path_params["id"], 0)


ROUTES: Final = (
    route("/users/new", new_user),
    route("/users/new", create_user, methods=("POST",)),
    route("/users/{id}", show_user),
    route("/users/{id}/edit", edit_user),
    route("/users/{id}/edit", save_user, methods=("POST",)),
    route("/users/{id}/{action}", act_on_user, methods=("POST",)),
)

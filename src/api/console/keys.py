"""API keys in the console: create, rotate and revoke them. A secret is shown once."""

from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import faults_in, number, render, route, service, to
from domain.errors import Invalid
from domain.keys import Forbidden, LastAdminKey, NewKey, Scope
from domain.lists.pages import MAX_LIMIT
from domain.work import utc_now
from services.keys import KeyService

LIFETIMES: Final = {"": "For ever", "30": "30 days", "90": "90 days", "365": "A year"}

OVERLAPS: Final = {"24": "for a day", "168": "for a week", "1": "for an hour", "0": "no longer"}
"""The times, in hours, for which the old secret can stay valid after a rotation."""


def keys_of(request: Request) -> KeyService:
    return service(request, lambda container: container.keys)


async def list_keys(request: Request) -> Response:
    return await keys_page(request)


async def keys_page(request: Request, status: int = 200, secret: str = "", reason: str = "") -> Response:
    found = await keys_of(request).list(limit=MAX_LIMIT)
    return render(
        request,
        "keys.html",
        status,
        keys=found.items,
        scopes=tuple(Scope),
        lifetimes=LIFETIMES,
        overlaps=OVERLAPS,
        secret=secret,
        reason=reason,
    )


async def create_key(request: Request) -> Response:
    form = request.state.form
    days = number(form.get("lifetime") or None, 0)
    scopes = tuple(scope for scope in Scope if f"scope {scope}" in form)
    try:
        expires_at = utc_now() + timedelta(days=min(days, 3650)) if days else None
        new = NewKey(name=form.get("name", ""), scopes=scopes, expires_at=expires_at)
        created = await keys_of(request).create(new)
    except (Invalid, Forbidden) as refusal:
        reason = " ".join(f"{name.title()}: {detail}".removeprefix(": ") for name, detail in faults_in(refusal).items())
        return await keys_page(request, 422, reason=reason)
    return await keys_page(request, secret=created.result[1])


async def act_on_key(request: Request) -> Response:
    id = number(request.path_params["id"], 0)
    if request.path_params["action"] == "rotate":
        hours = number(request.state.form.get("overlap"), 24)
        rotated = await keys_of(request).rotate(id, overlap=timedelta(hours=min(hours, 10_000)))
        return await keys_page(request, secret=rotated.result[1])
    try:
        await keys_of(request).revoke(id)
    except LastAdminKey as refusal:
        return await keys_page(request, 409, reason=refusal.detail)
    return to(request, "/keys")


ROUTES: Final = (
    route("/keys", list_keys),
    route("/keys", create_key, methods=("POST",)),
    route("/keys/{id}/{action:str}", act_on_key, methods=("POST",)),
)

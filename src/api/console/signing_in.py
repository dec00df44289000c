"""Signing in to the console with an API key or a link, and signing out."""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.console.pages import form_of, render, require_own_form, route, to
from api.console.sessions import Sessions, forget, new
from api.web.access import network_of
from domain.keys import Unauthenticated

OWN_PATH: Final = re.compile(r"/[a-z0-9/_-]*", re.ASCII)


async def show_sign_in(request: Request) -> Response:
    return render(request, "sign_in.html", next=next_of(request.query_params.get("next", "/")), fault=None)


async def sign_in(request: Request) -> Response:
    form = await form_of(request)
    require_own_form(request, None, "")
    sessions: Sessions = request.app.state.sessions
    try:
        key = await request.app.state.container.authenticator().authenticate(form.get("key", "").strip())
    except Unauthenticated as refusal:
        request.app.state.failures.note(network_of(request))
        fault = refusal.detail
        return render(request, "sign_in.html", 401, next=next_of(form.get("next", "/")), fault=fault)
    response = to(request, next_of(form.get("next", "/")))
    sessions.keep(new(key), request, response)
    return response


async def show_link(request: Request) -> Response:
    """The page of a link. Only its button uses the link up, because mail programs and the like open links before people
    do."""
    return link_page(request, request.path_params["token"])


def link_page(request: Request, token: str, status: int = 200, fault: str | None = None) -> Response:
    return render(request, "link.html", status, token=token, fault=fault)


async def follow_link(request: Request) -> Response:
    form = await form_of(request)
    require_own_form(request, None, "")
    try:
        session = new(await request.app.state.container.authenticator().redeem(form.get("link", "")))
    except Unauthenticated as refusal:
        request.app.state.failures.note(network_of(request))
        return link_page(request, "", 401, refusal.detail)
    response = to(request, "/")
    request.app.state.sessions.keep(session, request, response)
    return response


async def sign_out(request: Request) -> Response:
    response = to(request, "/sign-in")
    forget(request, response)
    return response


def next_of(path: str) -> str:
    """The page of the console to continue with. It is never a page of another site."""
    return path if OWN_PATH.fullmatch(path) and not path.startswith("//") else "/"


ROUTES: Final = (
    Route("/sign-in", show_sign_in, methods=["GET"], name="console_show_sign_in"),
    Route("/sign-in", sign_in, methods=["POST"], name="console_sign_in"),
    Route("/link", follow_link, methods=["POST"], name="console_follow_link"),
    Route("/link/{token}", show_link, methods=["GET"], name="console_show_link"),
    route("/sign-out", sign_out, methods=("POST",)),
)

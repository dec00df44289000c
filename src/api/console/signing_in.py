"""Signing in to the console, with an API key, and out."""

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


async def sign_out(request: Request) -> Response:
    response = to(request, "/sign-in")
    forget(request, response)
    return response


def next_of(path: str) -> str:
    """A page of the console to go on with: never another site's."""
    return path if OWN_PATH.fullmatch(path) and not path.startswith("//") else "/"


ROUTES: Final = (
    Route("/sign-in", show_sign_in, methods=["GET"], name="console_show_sign_in"),
    Route("/sign-in", sign_in, methods=["POST"], name="console_sign_in"),
    route("/sign-out", sign_out, methods=("POST",)),
)

"""What all pages of the console share: the session, forms, templates, and pages for errors."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from api.console.sessions import Session, Sessions
from api.web.access import is_from_own_page
from api.web.problems import STATUS, title_of
from domain.errors import Conflict, Invalid, Malformed, NotFound, Refusal
from domain.keys import Forbidden
from domain.values import MAX_ID
from domain.work import RequestContext

if TYPE_CHECKING:
    from api.container import Container

S = TypeVar("S")

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content security policy: nothing is loaded from other hosts, and no inline scripts run. So a text that a user
entered cannot run as a script."""

HEADERS: Final = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
"""With the policy `no-referrer`, browsers would send forms with the origin `null`, and no form would be accepted as the
server's own."""

COUNTED: Final = 10_000
"""The number at which counting stops."""

QUICK_S: Final = 0.4
"""Seconds that a list or a count may take, so that its page takes less than a second. A search with few matches reads
everything."""

PATIENT: Final = "patient"
"""The parameter that removes this bound. The link below an unfinished search has it."""

MOUNT: Final = "/console"

MAX_FORM: Final = 64 * 1024
"""The largest form, in bytes."""

Form = Mapping[str, str]
Page = Callable[[Request], Awaitable[Response]]


def time_of(at: datetime | None) -> str:
    """A time for people, with seconds, in UTC."""
    return "never" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def many(count: int) -> str:
    """A count for people. If counting stopped at `COUNTED`, it has a plus."""
    return f"{COUNTED:,}+" if count > COUNTED else f"{count:,}"


async def quickly(request: Request, asked: Awaitable[S]) -> S | None:
    """The result, or None if it takes longer than `QUICK_S`. With the parameter `PATIENT` there is no such bound."""
    try:
        async with asyncio.timeout(None if PATIENT in request.query_params else QUICK_S):
            return await asked
    except TimeoutError:
        return None


templates = Environment(
    loader=PackageLoader("api.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters["time"] = time_of
templates.filters["many"] = many


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Render a page. `root` is the path of the console. `session` may be None on the page for signing in."""
    text = templates.get_template(template).render(
        root=request.scope.get("root_path", ""),
        session=getattr(request.state, "session", None),
        outside=request.scope.get("app_root_path", request.scope.get("root_path", "")).removesuffix(MOUNT),
        here=request.scope["path"].removeprefix(request.scope.get("root_path", "")).split("/")[1],
        request_id=request.state.request_id,
        **values,
    )
    return HTMLResponse(text, status, HEADERS)


def page(show: Page) -> Page:
    """Declares a page that needs a session. Without one, the browser is redirected to the page for signing in, and then
    back.

    A form is accepted only if it comes from a page of this server and has the token of the session.
    """

    @wraps(show)
    async def shown(request: Request) -> Response:
        sessions: Sessions = request.app.state.sessions
        session = await sessions.of(request)
        if session is None:
            asked = quote(request.url.path.removeprefix(request.scope.get("root_path", "")))
            return to(request, f"/sign-in?next={asked}" if request.method == "GET" else "/sign-in")
        request.state.session = session
        request.state.actor = session.actor
        if request.method == "POST":
            request.state.form = await form_of(request)
            require_own_form(request, session, request.state.form.get("token", ""))
        elif request.method == "PUT":  # a file, which the script sends
            require_own_form(request, session, request.headers.get("roster-token", ""))
        response = await show(request)
        if session.is_new:
            sessions.keep(session, request, response)
        return response

    return shown


def route(path: str, show: Page, *, methods: tuple[str, ...] = ("GET",)) -> Route:
    return Route(path, page(show), methods=list(methods), name=f"console_{show.__name__}")


def require_own_form(request: Request, session: Session | None, token: str) -> None:
    """Raises `Forbidden` for a form from another site."""
    host = request.headers.get("host", "")
    if not is_from_own_page(request, host) or (session is not None and not session.has_sent(token)):
        raise Forbidden("This form does not come from this console, or it is too old. Load the page again.")


async def form_of(request: Request) -> Form:
    """Raises `Malformed`."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Malformed("This is not a form.")
    body = await request.body()
    if len(body) > MAX_FORM:
        raise Malformed("This form is too long.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise Malformed("This form is not text in UTF-8.") from None


def service(request: Request, provider: "Callable[[Container], Callable[[RequestContext], S]]") -> S:
    """A service with the context of a page. It checks the scopes of the session."""
    session: Session = request.state.session
    context = RequestContext(actor=session.actor, request_id=request.state.request_id, scopes=session.scopes)
    return provider(request.app.state.container)(context)


def to(request: Request, path: str, **parameters: str) -> Response:
    """Redirect to another page of the console, with a GET."""
    query = f"?{urlencode(parameters)}" if parameters else ""
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}{query}", 303)


def number(text: str | None, default: int) -> int:
    """An id, a version or the number of a change. Raises `NotFound` if the text is not such a number."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MAX_ID):
        raise NotFound("There is nothing with this number.")
    return int(text)


def faults_in(refusal: Refusal) -> Mapping[str, str]:
    """The error of each field of a form. Errors that belong to no field are under ""."""
    match refusal:
        case Invalid(faults=faults):
            return {fault.pointer.split("/")[1]: fault.detail for fault in faults}
        case Conflict(fields=fields):
            return dict.fromkeys(fields, "Another one has this value.")
        case _:
            return {"": refusal.detail}


async def refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101  # it handles no other exception
    return sorry(request, STATUS[type(refusal)], refusal.detail)


async def not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return sorry(request, status, "There is no such page." if status == HTTPStatus.NOT_FOUND else title_of(status))


def sorry(request: Request, status: int, detail: str) -> Response:
    return render(request, "refused.html", status, title=title_of(status), detail=detail)

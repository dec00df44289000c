"""The page /docs for client authors. All its assets come from Roster, not from another host."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.web.openapi import described
from api.web.responses import json_answer
from api.web.streams import JSON, VARY, media_type_for

HTML: Final = "text/html"
CONSOLE: Final = "/console"
ASSETS: Final = "/docs/assets"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' '{hash}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    folder = Path(str(files("fastapi_offline") / "static"))
    app.mount(ASSETS, StaticFiles(directory=folder), name="assets")
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    app.router.routes += [Page("/", index), Page("/docs", docs), Page("/openapi.json", openapi)]


class Page(Route):
    """A page that is not an operation of the API. Its name is shown in the log and in the metrics."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


async def index(request: Request) -> Response:
    """An index for programs. A browser is redirected to the console, or to the docs if there is no console."""
    root = request.scope.get("root_path", "")
    if media_type_for(request.headers.getlist("accept"), (JSON, HTML)) == HTML:
        mounted = {getattr(route, "path", None) for route in request.app.router.routes}
        return RedirectResponse(f"{root}{CONSOLE if CONSOLE in mounted else '/docs'}", 303, VARY)
    collections = {name: f"{root}/{name}/" for name in request.app.state.collections}
    pages = {"docs": f"{root}/docs", "openapi": f"{root}/openapi.json", "ready": f"{root}/health/ready"}
    return json_answer({"name": "roster", "version": request.app.version, **collections, **pages}, headers=VARY)


async def openapi(request: Request) -> Response:
    return json_answer(request.app.openapi())


async def docs(request: Request) -> Response:
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Roster",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )
    page.headers["Content-Security-Policy"] = PAGE_POLICY.format(hash=hash_of_script(bytes(page.body).decode()))
    return page


def hash_of_script(page: str) -> str:
    """The hash of the inline script of the page, for its content security policy."""
    match = INLINE_SCRIPT.search(page)
    assert match is not None  # noqa: S101
    return f"sha256-{b64encode(sha256(match[1].encode()).digest()).decode()}"

"""The pages for client authors, without a call to any other host: /docs, with the assets that Roster serves itself."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

from api.access import SECURITY_SCHEME
from api.problems import Problem

ASSETS: Final = "/docs/assets"
BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "rk_<id>_<secret>",
    "description": "An API key. The scopes that a call needs stand with it. While there is no key at all, a server "
    "that listens on loopback only takes calls from its own machine without one.",
}
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' '{hash}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    folder = Path(str(files("fastapi_offline") / "static"))
    app.mount(ASSETS, StaticFiles(directory=folder), name="assets")
    app.add_route("/docs", docs, include_in_schema=False)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]


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
    """The one script that stands in the page itself, as a content security policy names it."""
    match = INLINE_SCRIPT.search(page)
    assert match is not None  # noqa: S101
    return f"sha256-{b64encode(sha256(match[1].encode()).digest()).decode()}"


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schema of problems that the routes refer to."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update({**problem.pop("$defs"), "Problem": problem})
        document["components"]["securitySchemes"] = {SECURITY_SCHEME: BEARER}
        app.openapi_schema = document
    return app.openapi_schema

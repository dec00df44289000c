"""The pages for client authors, without a call to any other host: /docs, with the assets that Roster serves itself."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

from api.openapi import described

ASSETS: Final = "/docs/assets"


def add_docs(app: FastAPI) -> None:
    folder = Path(str(files("fastapi_offline") / "static"))
    app.mount(ASSETS, StaticFiles(directory=folder), name="assets")
    app.add_route("/docs", docs, include_in_schema=False)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]


async def docs(request: Request) -> Response:
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Roster",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )

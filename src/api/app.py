"""The app: its routes, and what all of them share."""

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, nullcontext
from typing import Final

from fastapi import APIRouter, FastAPI, Response
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api import (
    batches,
    changes,
    deliveries,
    exports,
    groups,
    health,
    imports,
    keys,
    memberships,
    nestings,
    users,
    webhooks,
)
from api.container import Container
from api.delivery.running import delivering
from api.extras import CONSOLE
from api.health import drain_on_sigterm
from api.messages import messages
from api.retention import trimming
from api.settings import Settings, items_of, networks_in
from api.version import VERSION
from api.web.access import Failures
from api.web.admission import Admission
from api.web.docs import add_docs
from api.web.middleware import RequestMiddleware
from api.web.problems import add_problem_handlers

DESCRIPTION = """\
The people of a product, the groups that they are in, what changed, and who changed it.

Every error is a problem document (RFC 9457). Every answer has an `X-Request-Id`, which is also in the server's log and
in the changes that the request made. Every path with GET also answers HEAD. Unknown query parameters and unknown fields
of a body are refused, so that a typing error is noticed.

A body is JSON in UTF-8 of at most 1 MiB and 64 levels, sent within 20 seconds. The request line and the headers
together have at most 64 KiB."""

TAGS = [
    {"name": "users", "description": "The people of the directory."},
    {"name": "groups", "description": "Groups of users, and their members with their roles."},
    {"name": "imports", "description": "Importing many rows from a file."},
    {"name": "changes", "description": "The record of every write, and the feed to follow it."},
    {
        "name": "keys",
        "description": (
            "API keys: who may call, and with which scopes. After the first key is created, every call needs one."
        ),
    },
    {"name": "webhooks", "description": "The feed of changes, pushed to a URL by Standard Webhooks."},
    {"name": "health", "description": "For load balancers, orchestrators and monitoring."},
]

ROUTERS: Final = (
    users.router,
    batches.router,
    exports.router,
    imports.router,
    groups.router,
    memberships.router,
    nestings.router,
    changes.router,
    keys.router,
    webhooks.router,
    deliveries.router,
    health.router,
)

TOP: Final = re.compile("/([a-z]+)/")

REQUEST_ID: Final = "X-Request-Id"
EXPOSED: Final = (
    "Dry-Run", "ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "Roster-Seq", "WWW-Authenticate",
    REQUEST_ID, "X-Total-Count",
)  # fmt: skip
"""The headers of an answer that pages of allowed origins may read, in addition to those that every page may read."""

ALLOWED: Final = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Roster-Min-Seq", REQUEST_ID,
)  # fmt: skip
"""The headers that pages of allowed origins may send."""


def create_app(container: Container, *, open_locally: bool = False, delivers: bool = False) -> FastAPI:
    """An app with the parts of this container. Several apps in one process share nothing.

    With `open_locally`, callers on this machine need no key while there are no keys at all. It is only for a server
    that listens on loopback. With `delivers`, the app also does the background work of a server (`working`).
    """
    app = FastAPI(
        title="Roster",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(
                RequestMiddleware,
                metrics=container.metrics(),
                hosts=items_of(container.settings().allowed_hosts),
                proxies=networks_in(container.settings().trusted_proxies),
            ),
            Middleware(Admission, metrics=container.metrics()),
            *web_pages(items_of(container.settings().cors_origins)),
        ],
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.container = container
    app.state.draining = False
    app.state.closing = ExitStack()
    app.state.failures = Failures()
    app.state.open_locally = open_locally
    app.state.collections = collections_of(ROUTERS)
    app.state.delivers = delivers
    app.state.errors_under = {}
    app.webhooks.routes.extend(messages.routes)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # include_router would match every request twice
    if container.settings().scim:
        from api.scim.answers import error  # noqa: PLC0415  # imported only if it is mounted
        from api.scim.app import MOUNT, scim_routes  # noqa: PLC0415

        app.router.routes.extend(scim_routes(container.settings()))
        app.state.errors_under[MOUNT] = error
    add_docs(app)
    add_console(app, container.settings())
    add_problem_handlers(app)
    return app


def add_console(app: FastAPI, settings: Settings) -> None:
    """Serve the console, unless it is switched off or its extra is not installed."""
    if serves_console(settings):
        from api.console.app import mount_console  # noqa: PLC0415  # imported only if it is mounted

        secret = settings.console_secret
        mount_console(app, secrets.token_urlsafe() if secret is None else secret.get_secret_value())


def serves_console(settings: Settings) -> bool:
    return CONSOLE.is_wanted(settings) and CONSOLE.is_installed()


def collections_of(routers: Iterable[APIRouter]) -> list[str]:
    """The names of the top-level collections, for the index at `/`."""
    paths = (getattr(route, "path", "") for router in routers for route in router.routes)
    return list(dict.fromkeys(match[1] for path in paths if (match := TOP.fullmatch(path))))


class WebPages(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        """A 204 whose headers say what is allowed. The browser refuses everything else."""
        headers = super().preflight_response(request_headers=request_headers).headers
        allowed = {name: value for name, value in headers.items() if not name.startswith("content-")}
        return Response(status_code=204, headers=allowed)


def web_pages(origins: list[str]) -> Iterator[Middleware]:
    """Let web pages of these origins call the API from a browser. Without origins no page may."""
    if origins:
        yield Middleware(
            WebPages,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
        )


@asynccontextmanager
async def working(container: Container) -> AsyncIterator[None]:
    """The background work of a server: delivering to webhooks, and removing old changes."""
    async with (
        delivering(container.deliverer(), container.post()),
        trimming(container.retention(), container.settings().keep_changes_days),
    ):
        yield


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    units = container.units()
    await units.start()
    drain_on_sigterm(app, container.settings().drain_s)
    try:
        async with working(container) if app.state.delivers else nullcontext():
            yield
    finally:
        app.state.closing.close()
        await units.stop()

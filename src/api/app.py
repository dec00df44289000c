"""The app: the routes, and around them what every answer has in common."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api import changes, health, keys, users
from api.access import Failures
from api.container import Container
from api.docs import add_docs
from api.edge import Edge
from api.health import drain_on_sigterm
from api.problems import add_problem_handlers
from api.settings import items_of

DESCRIPTION = """\
Who a product's people are, what changed, and who changed it.

Every refusal is a problem document (RFC 9457). Every answer has an `X-Request-Id`, which is also in the server's log
and in the change that the request caused."""

TAGS = [
    {"name": "users", "description": "The people of the directory."},
    {"name": "changes", "description": "The record of every write, and the feed to follow it."},
    {"name": "keys", "description": "Who may call, and for what. The first key locks the door."},
    {"name": "health", "description": "For load balancers and orchestrators."},
]


def create_app(container: Container, *, open_at_home: bool = False) -> FastAPI:
    """An app on the parts of this container. Several apps in one process have nothing in common.

    `open_at_home` lets callers on this machine in without a key, while there are no keys at all. It is for a server
    that listens on loopback only, and knows it.
    """
    app = FastAPI(
        title="Roster",
        version=version("roster"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[Middleware(Edge, hosts=items_of(container.settings().allowed_hosts))],
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.container = container
    app.state.draining = False
    app.state.failures = Failures()
    app.state.open_at_home = open_at_home
    for router in (users.router, changes.router, keys.router, health.router):
        app.router.routes.extend(router.routes)  # include_router would match every request twice
    add_docs(app)
    add_web_pages(app, items_of(container.settings().cors_origins))
    add_problem_handlers(app)
    return app


def add_web_pages(app: FastAPI, origins: list[str]) -> None:
    """Let the pages of these origins call the API from a browser. Nobody's, if there are none."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key"],
            expose_headers=["ETag", "Link", "Location", "Retry-After", "Roster-Seq", "X-Request-Id", "X-Total-Count"],
        )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    units = container.units()
    await units.start()
    drain_on_sigterm(app, container.settings().drain_s)
    try:
        yield
    finally:
        await units.stop()

"""The app: the routes, and around them what every answer has in common."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware

from api import changes, health, users
from api.container import Container
from api.docs import add_docs
from api.edge import Edge
from api.health import drain_on_sigterm
from api.problems import add_problem_handlers

DESCRIPTION = """\
Who a product's people are, what changed, and who changed it.

Every refusal is a problem document (RFC 9457). Every answer has an `X-Request-Id`, which is also in the server's log
and in the change that the request caused. Whatever answers GET answers HEAD. Query parameters that no operation knows
are refused, and so are unknown fields in a body: a typo is never passed over.

A body is JSON in UTF-8 of at most 1 MiB and 64 levels, sent within 20 seconds; a request's line and headers hold at
most 64 KiB."""

TAGS = [
    {"name": "users", "description": "The people of the directory."},
    {"name": "changes", "description": "The record of every write, and the feed to follow it."},
    {"name": "health", "description": "For load balancers and orchestrators."},
]


def create_app(container: Container) -> FastAPI:
    """An app on the parts of this container. Several apps in one process have nothing in common."""
    app = FastAPI(
        title="Roster",
        version=version("roster"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[Middleware(Edge)],
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.container = container
    app.state.draining = False
    for router in (users.router, changes.router, health.router):
        app.router.routes.extend(router.routes)  # include_router would match every request twice
    add_docs(app)
    add_problem_handlers(app)
    return app


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

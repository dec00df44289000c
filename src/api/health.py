"""Health: whether the process is alive, and whether it should get requests. For load balancers and orchestrators."""

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from pydantic import BaseModel, Field

from api.web.dependencies import container_of
from api.web.problems import documented, problem
from api.web.responses import documented_headers, json_answer
from api.web.routing import operation_id
from api.web.streams import VARY, media_type_for
from domain.errors import NotReady

log = structlog.get_logger("roster")

router = APIRouter(tags=["health"], generate_unique_id_function=operation_id)


class Health(BaseModel):
    status: Annotated[Literal["ok"], Field(description="Always ok. Any other state is a problem document")]


@router.get("/health/live", response_model=Health, responses=documented())
async def live() -> Response:
    """The process answers."""
    return json_answer({"status": "ok"})


@router.get("/health/ready", response_model=Health, responses=documented(503))
async def ready(request: Request) -> Response:
    """The database can be reached, this version of Roster can use its schema, and the server is not stopping."""
    if request.app.state.draining:
        return not_ready(request, "The server is about to stop.")
    try:
        await container_of(request).units().require_ready()
    except NotReady:  # its text is for the operator
        return not_ready(request, "This version cannot use the schema of the database.")
    return json_answer({"status": "ok"})


def not_ready(request: Request, detail: str) -> Response:
    return problem(request, 503, "not_ready", detail, headers={"Retry-After": "1"})


TEXT: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text"
WRITERS: Final[Mapping[str, tuple[Callable[[CollectorRegistry], bytes], str]]] = {
    TEXT: (exposition.generate_latest, exposition.CONTENT_TYPE_PLAIN_0_0_4),
    OPENMETRICS: (openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST),
}

EXAMPLE: Final = """\
# HELP roster_requests_in_flight Requests that are being answered, this one too.
# TYPE roster_requests_in_flight gauge
roster_requests_in_flight 1.0
"""
SHOWN: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            TEXT: {"schema": {"type": "string"}, "example": EXAMPLE},
            OPENMETRICS: {"schema": {"type": "string"}, "example": f"{EXAMPLE}# EOF\n"},
        },
        **documented_headers(Vary="The request headers on which the answer depends"),
    }
}


@router.get("/metrics", response_class=PlainTextResponse, responses={**documented(), **SHOWN})
async def metrics(request: Request) -> Response:
    """Metrics, in the text format of Prometheus, or as OpenMetrics if the Accept header prefers it.

    They show the number and the duration of requests, and no data of the directory. With several server processes they
    are the totals of all processes.
    """
    write, media_type = WRITERS[media_type_for(request.headers.getlist("accept"), tuple(WRITERS))]
    text = await asyncio.to_thread(write, container_of(request).metrics().shown)  # so that no request waits for it
    return Response(text, media_type=media_type, headers=VARY)


def drain_on_sigterm(app: FastAPI, seconds: float) -> None:
    """After SIGTERM, report not ready and keep serving for some seconds, then stop the server.

    So a load balancer can send requests to other servers. The server's own signal handler runs after these seconds, or
    on a second signal.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop):
        return  # this app does not run in a server that handles signals
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        wait = 0 if app.state.draining else seconds
        if not app.state.draining:
            loop.call_soon_threadsafe(partial(log.info, "draining", seconds=seconds))
        app.state.draining = True
        loop.call_soon_threadsafe(app.state.container.units().release)
        loop.call_soon_threadsafe(loop.call_later, wait, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)

"""Whether the server lives, and whether it should get requests: for load balancers and orchestrators."""

import asyncio
import signal
import threading
from types import FrameType
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from api.answers import json_answer
from api.dependencies import container_of
from api.problems import documented, problem
from api.routing import operation_id

router = APIRouter(prefix="/health", tags=["health"], generate_unique_id_function=operation_id)


class Health(BaseModel):
    status: Annotated[Literal["ok"], Field(description="There is no other: what is not well is a problem document")]


@router.get("/live", response_model=Health, responses=documented())
async def live() -> Response:
    """The process answers."""
    return json_answer({"status": "ok"})


@router.get("/ready", response_model=Health, responses=documented(503))
async def ready(request: Request) -> Response:
    """The database is reachable, its schema at the head, and the server not about to stop."""
    if request.app.state.draining:
        return not_ready(request, "The server is about to stop.")
    if not await container_of(request).units().is_ready():
        return not_ready(request, "The database cannot be reached, or its schema is not at the head.")
    return json_answer({"status": "ok"})


def not_ready(request: Request, detail: str) -> Response:
    return problem(request, 503, "not_ready", detail, headers={"Retry-After": "1"})


def drain_on_sigterm(app: FastAPI, seconds: float) -> None:
    """Be not ready from SIGTERM on, and serve on for some seconds before the server is told to stop.

    So a load balancer can see it and go elsewhere. The server's own handler runs after that, or on a second signal.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop):
        return  # no server that stops on a signal runs this app
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        wait = 0 if app.state.draining else seconds
        app.state.draining = True
        loop.call_soon_threadsafe(app.state.container.units().release)
        loop.call_soon_threadsafe(loop.call_later, wait, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)

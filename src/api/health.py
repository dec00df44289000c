"""Whether the server lives, and whether it should get requests: for load balancers and orchestrators."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from api.answers import json_answer
from api.dependencies import container_of
from api.problems import documented, problem

router = APIRouter(prefix="/health", tags=["health"])


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
    if not await container_of(request).database().is_ready():
        return not_ready(request, "The database cannot be reached, or its schema is not at the head.")
    return json_answer({"status": "ok"})


def not_ready(request: Request, detail: str) -> Response:
    return problem(request, 503, "not_ready", detail, headers={"Retry-After": "1"})

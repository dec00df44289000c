"""Hands a route the service it asks for, for the occasion of its request."""

from typing import Annotated

from fastapi import Depends, Query, Request

from api.container import Container
from domain.work import Occasion
from services.changes import ChangeService
from services.users import UserService


def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


def occasion_of(request: Request, *, dry_run: bool = False) -> Occasion:
    return Occasion(actor="anonymous", request_id=request.state.request_id, dry_run=dry_run)


DryRun = Annotated[bool, Query(description="Answer as if it were done, and store nothing", examples=[True])]

# Async functions, though they wait for nothing: FastAPI would run others in a thread.


async def user_service(request: Request) -> UserService:
    return container_of(request).users(occasion_of(request))


async def user_service_to_write(request: Request, dry_run: DryRun = False) -> UserService:
    request.state.dry_run = dry_run  # for refusals to say so
    return container_of(request).users(occasion_of(request, dry_run=dry_run))


async def change_service(request: Request) -> ChangeService:
    return container_of(request).changes(occasion_of(request))


Users = Annotated[UserService, Depends(user_service)]
UsersToWrite = Annotated[UserService, Depends(user_service_to_write)]
Changes = Annotated[ChangeService, Depends(change_service)]

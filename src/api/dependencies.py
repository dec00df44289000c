"""Hands a route the service it asks for, for the occasion of its request."""

from typing import Annotated

from fastapi import Depends, Request

from api.container import Container
from domain.work import Occasion
from services.changes import ChangeService
from services.users import UserService


def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


def occasion_of(request: Request) -> Occasion:
    return Occasion(actor="anonymous", request_id=request.state.request_id)


async def user_service(request: Request) -> UserService:
    return container_of(request).users(occasion_of(request))


async def change_service(request: Request) -> ChangeService:
    return container_of(request).changes(occasion_of(request))


# Async functions, though they wait for nothing: FastAPI would run others in a thread.
Users = Annotated[UserService, Depends(user_service)]
Changes = Annotated[ChangeService, Depends(change_service)]

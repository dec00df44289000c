"""Hands a route the service it asks for, for the context of its request. Each says which scope that needs."""

from typing import Annotated

from fastapi import Depends, Request

from api.container import Container
from api.web.access import Needs, NeedsToWrite
from domain.keys import Scope
from services.changes import ChangeService
from services.keys import KeyService
from services.users import UserService


def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


Users = Annotated[UserService, Depends(Needs(lambda parts: parts.users, Scope.USERS_READ))]
UsersToWrite = Annotated[UserService, Depends(NeedsToWrite(lambda parts: parts.users, Scope.USERS_WRITE))]
Changes = Annotated[ChangeService, Depends(Needs(lambda parts: parts.changes, Scope.CHANGES_READ))]
Keys = Annotated[KeyService, Depends(Needs(lambda parts: parts.keys, Scope.KEYS_ADMIN))]
KeysToWrite = Annotated[KeyService, Depends(NeedsToWrite(lambda parts: parts.keys, Scope.KEYS_ADMIN))]

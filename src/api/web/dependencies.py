"""Dependencies that hand a route its service, for the context of its request."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from fastapi import Query, Request

from api.container import Container
from api.web.access import actor_of
from domain.work import RequestContext

if TYPE_CHECKING:
    from domain.keys import Key

S = TypeVar("S")

DryRun = Annotated[bool, Query(description="Answer as if it were done, and store nothing", examples=[True])]


class Service(Generic[S]):
    """A dependency: the service that a provider of the container makes."""

    def __init__(self, provider: Callable[[Container], Callable[[RequestContext], S]]) -> None:
        self._provider = provider

    async def __call__(self, request: Request) -> S:
        return self.give(request)

    def give(self, request: Request, *, dry_run: bool = False) -> S:
        key: Key | None = request.state.key
        context = RequestContext(
            actor=actor_of(key),
            request_id=request.state.request_id,
            scopes=request.state.scopes,
            dry_run=dry_run,
        )
        return self._provider(request.app.state.container)(context)


class WritingService(Service[S]):
    """The same for a route that writes: it takes `dry_run`."""

    async def __call__(self, request: Request, dry_run: DryRun = False) -> S:
        request.state.dry_run = dry_run  # for the headers of refusals
        return self.give(request, dry_run=dry_run)


def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container

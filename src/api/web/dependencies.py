"""Dependencies that give a route its service, with the context of the request."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from fastapi import Header, Query, Request
from pydantic import WithJsonSchema

from api.container import Container
from api.web.access import actor_of
from api.web.requests import DIGITS
from domain.errors import Malformed
from domain.values import MAX_ID
from domain.work import RequestContext

if TYPE_CHECKING:
    from domain.keys import Key

S = TypeVar("S")

DryRun = Annotated[
    bool, Query(description="Answer as if the request was carried out, but store nothing", examples=[True])
]


MinSeq = Annotated[
    str | None,
    Header(
        alias="Roster-Min-Seq",
        description=(
            "The answer has to show all changes up to this number, which is the `Roster-Seq` of an earlier answer. "
            "Without this header, an answer may lack them if the server reads from replicas"
        ),
    ),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,16}$", "examples": ["1"]}),
]


def seq_in(header: str | None) -> int:
    """The number in the header. Raises `Malformed` if it is not the number of a change."""
    if header is None:
        return 0
    if len(header) > len(str(MAX_ID)) or not DIGITS.fullmatch(header) or not 0 <= (seq := int(header)) <= MAX_ID:
        raise Malformed("Roster-Min-Seq holds the number of a change, as Roster-Seq gives it.")
    return seq


class Service(Generic[S]):
    """A dependency that gives a service, from a provider of the container. Its reads may use a replica."""

    def __init__(self, provider: Callable[[Container], Callable[[RequestContext], S]]) -> None:
        self._provider = provider

    async def __call__(self, request: Request, min_seq: MinSeq = None) -> S:
        return self.give(request, min_seq=seq_in(min_seq))

    def give(self, request: Request, *, dry_run: bool = False, min_seq: int | None = None) -> S:
        """The service. Without `min_seq` it reads from the primary, for clients that cannot say what they have seen."""
        key: Key | None = request.state.key
        context = RequestContext(
            actor=actor_of(key),
            request_id=request.state.request_id,
            scopes=request.state.scopes,
            dry_run=dry_run,
            min_seq=min_seq,
        )
        return self._provider(request.app.state.container)(context)


class WritingService(Service[S]):
    """The same for a route that writes. It has the parameter `dry_run`."""

    async def __call__(self, request: Request, dry_run: DryRun = False) -> S:  # type: ignore[override]
        request.state.dry_run = dry_run  # for the headers of errors
        return self.give(request, dry_run=dry_run)


def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container

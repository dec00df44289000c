"""Exports over HTTP: all data about one person."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from api.bodies.memberships import SHOWN as MEMBERSHIP_SHOWN
from api.bodies.memberships import MembershipOut
from api.bodies.users import SHOWN, UserId, UserOut
from api.changes import ChangeOut
from api.web.dependencies import Service, container_of
from api.web.problems import documented
from api.web.responses import EVERY_FIELD
from api.web.routing import Router, calls
from api.web.streams import JSON, Stream, cut, without_length
from domain.changes import document_of
from services.exports import ExportService, PersonPart

router = Router("/users", "users")

Exports = Annotated[ExportService, Depends(Service(lambda container: container.exports))]


class PersonOut(BaseModel):
    """All data about one person."""

    user: Annotated[UserOut, Field(description="The user, with every field")]
    scim: Annotated[dict[str, Any] | None, Field(description="What SCIM stores besides these fields, if anything")]
    memberships: Annotated[list[MembershipOut], Field(description="The groups of which it is a direct member")]
    changes: Annotated[list[ChangeOut], Field(description="All changes about it, the oldest first")]


EXPORTED: Final[dict[int | str, dict[str, Any]]] = {**documented(404, 422)}


@router.get("/{id}/export", response_model=PersonOut, responses=EXPORTED)
@calls(ExportService.person)
async def export_user(request: Request, exports: Exports, id: UserId) -> Response:
    """All data about one person, as it was at one moment, to answer a request for access (GDPR, article 15).

    It works for a deleted user too. After an erasure nothing is left but the fact that there was a user: see its
    changes.
    """
    parts = exports.person(id)
    first = await anext(parts)
    if request.state.method == "HEAD":
        await parts.aclose()
        return without_length(Response(media_type=JSON))
    return Stream(written(first, parts), parts, JSON, {}, container_of(request).settings().limits)


async def written(first: PersonPart, parts: AsyncGenerator[PersonPart]) -> AsyncGenerator[bytes]:
    user = to_json(SHOWN.by(EVERY_FIELD)(first.user))
    memberships = to_json([MEMBERSHIP_SHOWN.by(EVERY_FIELD)(each) for each in first.memberships])
    yield b'{"user":' + user + b',"scim":' + to_json(first.user.scim) + b',"memberships":' + memberships
    yield b',"changes":['
    separator = b""
    async for part in parts:
        for piece in cut(separator + b",".join(to_json(document_of(change)) for change in part.changes)):
            yield piece
        separator = b","
    yield b"]}"

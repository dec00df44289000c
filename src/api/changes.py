"""The record of changes over HTTP: bodies and routes."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, WithJsonSchema

from api.bodies.groups import GroupId
from api.bodies.users import UserId
from api.web.dependencies import Service
from api.web.lists import narrowed
from api.web.parameters import Limit, filter_query
from api.web.problems import documented
from api.web.requests import DIGITS, PlainInteger
from api.web.responses import documented_headers, json_answer, link_to_next
from api.web.routing import Router, calls
from domain.changes import FIELDS, Action, ChangePage, document_of
from domain.groups import Group
from domain.lists.pages import DEFAULT_LIMIT
from domain.users import User
from domain.values import MAX_ID
from services.changes import ChangeService

router = Router("", "changes")

Changes = Annotated[ChangeService, Depends(Service(lambda container: container.changes))]


class SubjectOut(BaseModel):
    """An entity that a change is about."""

    kind: Annotated[str, Field(description="What it is", examples=["user"])]
    id: Annotated[int, Field(description="Its id", ge=1, examples=[1])]


class ChangeOut(BaseModel):
    """A change of one entity: who made it and when, and the fields that differ, before and after."""

    seq: Annotated[int, Field(description="Rises with every commit", ge=1, examples=[1])]
    kind: Annotated[str, Field(description="What was changed", examples=["user"])]
    entity_id: Annotated[int, Field(description="The id of what was changed", ge=1, examples=[1])]
    version: Annotated[int, Field(description="Its version after the change", ge=1, examples=[1])]
    action: Action
    actor: Annotated[str, Field(description="Who made it", examples=["anonymous"])]
    request_id: Annotated[str, Field(description="The X-Request-Id of the request that made it")]
    at: Annotated[datetime, Field(description="When, RFC 3339 in UTC")]
    before: Annotated[
        dict[str, Any] | None,
        Field(description="The fields that differ, with their values before; null if it was created"),
    ]
    after: Annotated[
        dict[str, Any] | None, Field(description="The same fields with their values after; null if it was erased")
    ]
    subjects: Annotated[
        list[SubjectOut],
        Field(description="The entities that it is about: the entity itself, then those that it refers to"),
    ]


MAX_WAIT_S: Final = 30

NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": MAX_ID}

Since = Annotated[
    int,
    Field(ge=0, le=MAX_ID),
    PlainInteger,
    Query(
        description=(
            "Only changes with a higher sequence number. It is a 410 if the directory was restored from a backup "
            "that does not have this change, and a 400 if there is no change with this number yet"
        ),
        examples=[0],
    ),
]
SinceOrNow = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [NUMBER, {"type": "string", "const": "now"}], "examples": [0, "now"]}),
    Query(description="The same; `now` for the changes after this request. Without it, all changes"),
]


def since_in(text: str | None) -> int | None:
    """The number in the parameter; None for `now`. Raises `Invalid`."""
    if text is None or text == "now":
        return 0 if text is None else None
    if not DIGITS.fullmatch(text) or not 0 <= int(text) <= MAX_ID:
        detail = f"Must be an integer from 0 to {MAX_ID}, or now."
        raise RequestValidationError([{"type": "int_parsing", "loc": ("query", "since"), "msg": detail}])
    return int(text)


FilterText = Annotated[str | None, filter_query(FIELDS, 'kind eq "user" and action ne "updated"')]
Wait = Annotated[
    int,
    Field(ge=0, le=MAX_WAIT_S),
    PlainInteger,
    Query(description="How many seconds to wait for a change if there is none yet", examples=[0]),
]
FOLLOWED: Final = documented_headers(
    Link='Where to continue, with rel="next". It is always there, even without new changes',
    Roster_Seq="The number in that Link. The answer has all matching changes up to this number, unless it was limited",
)


@router.get("/changes/", response_model=list[ChangeOut], responses={200: FOLLOWED, **documented(400, 410, 422)})
@calls(ChangeService.wait)
async def list_changes(
    *,
    request: Request,
    changes: Changes,
    since: SinceOrNow = None,
    limit: Limit = DEFAULT_LIMIT,
    filter: FilterText = None,
    wait: Wait = 0,
) -> Response:
    """The feed of all changes. If you keep following the Link header, you miss no change and get none twice.

    With a filter, the Link header also skips the changes that do not match. A mirror first reads the users as a stream,
    and then follows the changes from the number in the `Roster-Seq` of that stream.

    After the directory was restored from a backup, a reader who has seen changes that are not in the backup gets a 410.
    It has to begin again, like a new mirror.
    """
    wanted, after = narrowed(FIELDS, filter), since_in(since)
    return followed(request, await changes.wait(filter=wanted, since=after, limit=limit, within_s=wait))


@router.get(
    "/users/{id}/changes/", response_model=list[ChangeOut], responses={200: FOLLOWED, **documented(400, 404, 410, 422)}
)
@calls(ChangeService.list_about)
async def list_user_changes(
    request: Request, changes: Changes, id: UserId, since: Since = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """All changes that are about one user, even if it was deleted or erased."""
    return followed(request, await changes.list_about(User, id, since=since, limit=limit))


@router.get("/groups/{id}/changes/", response_model=list[ChangeOut], responses={200: FOLLOWED, **documented(404, 422)})
@calls(ChangeService.list_about)
async def list_group_changes(
    request: Request, changes: Changes, id: GroupId, since: Since = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """All changes that are about one group or its memberships, even if the group was deleted or erased."""
    return followed(request, await changes.list_about(Group, id, since=since, limit=limit))


def followed(request: Request, page: ChangePage) -> Response:
    next_one = link_to_next(request, since=page.end)
    shown = [document_of(change) for change in page.changes]
    return json_answer(shown, headers={**next_one, "Roster-Seq": str(page.end)})

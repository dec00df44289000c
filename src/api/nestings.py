"""Groups that are parts of other groups, over HTTP."""

from typing import Annotated, Final, cast

from fastapi import Path, Request, Response
from pydantic import Field

from api.bodies.groups import SHOWN, Fields, GroupId, GroupOut
from api.groups import Groups, GroupsToWrite
from api.web.entities import GONE, gone
from api.web.lists import listed, position_in
from api.web.parameters import Cursor, Limit
from api.web.problems import documented
from api.web.requests import PlainInteger
from api.web.responses import documented_headers
from api.web.routing import Router, calls
from domain.lists.pages import BY_ID, DEFAULT_LIMIT
from domain.values import MAX_ID
from services.groups import GroupService

router = Router("/groups/{id}/groups", "groups")

ChildId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a group", examples=[2])]

PAGED: Final = documented_headers(
    Link='The next page, with rel="next", while there is more',
    Roster_Seq="The answer shows all changes up to this number, and perhaps later ones",
    Vary="Accept",
)


@router.put(
    "/{child_id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(404, 409, 410, 422)},
)
@calls(GroupService.nest)
async def put_child_group(groups: GroupsToWrite, id: GroupId, child_id: ChildId) -> Response:
    """Make a group, the child, a part of another group. The members of the child are then members of that group too.

    Lists show such members with `recursive`. If the group is the child itself or a part of it, the answer is a 409,
    because there would be a cycle.
    """
    return gone(groups, await groups.nest(id, child_id))


@router.delete(
    "/{child_id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(404, 410, 422)},
)
@calls(GroupService.unnest)
async def remove_child_group(groups: GroupsToWrite, id: GroupId, child_id: ChildId) -> Response:
    """Remove a group from another group. If it is not a part of it, nothing changes, and the answer is the same."""
    return gone(groups, await groups.unnest(id, child_id))


@router.get(
    "/",
    response_model=list[GroupOut],
    responses={200: PAGED, **documented(400, 404, 410, 422)},
)
@calls(GroupService.list_children)
async def list_child_groups(
    *,
    request: Request,
    groups: Groups,
    id: GroupId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    fields: Fields = None,
) -> Response:
    """List the direct parts of a group, sorted by id."""
    show, position = SHOWN.by(fields), position_in(request, groups, cursor, BY_ID)
    (last,) = BY_ID.keys_at(position or (0,))
    page = await groups.list_children(id, after=cast("int", last), limit=limit)
    return listed(request, groups, page, show, BY_ID)

"""Groups over HTTP: routes. Bodies and parameters are in `api.bodies.groups`, members in `api.memberships`."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from api.bodies.groups import (
    SHOWN,
    ExternalIdEquals,
    ExternalIdKey,
    Fields,
    GroupId,
    GroupIn,
    GroupOut,
    GroupPatch,
    NameEquals,
    NameKey,
    Purge,
)
from api.web.bodies import patch_body
from api.web.conditions import IfMatch, IfNoneMatch, expected_by, unwanted_by
from api.web.dependencies import Service, WritingService
from api.web.entities import (
    GONE,
    ONE,
    REPLAYED,
    UNCHANGED,
    WRITTEN,
    WRITTEN_ONCE,
    changed,
    created,
    created_at,
    gone,
    links,
    one,
)
from api.web.idempotency import IdempotencyKeyHeader, answer_idempotently
from api.web.lists import LISTED, answer_list, narrowed, sorted_by
from api.web.parameters import Accept, Count, Cursor, Deleted, Formulas, Limit, filter_query, sort_query
from api.web.problems import documented
from api.web.routing import Router, calls
from domain.groups import FIELDS, Group
from domain.idempotency import Committed
from domain.lists.pages import DEFAULT_LIMIT
from domain.stores import Hidden
from services.groups import GroupService

router = Router("/groups", "groups")

groups_to_read = Service(lambda container: container.groups)
groups_to_write = WritingService(lambda container: container.groups)
Groups = Annotated[GroupService, Depends(groups_to_read)]
GroupsToWrite = Annotated[GroupService, Depends(groups_to_write)]

FilterText = Annotated[str | None, filter_query(FIELDS, 'name co "eng" and members eq 1')]
SortText = Annotated[str | None, sort_query(FIELDS, "name,-created_at")]

LINKS: Final = links(
    get_group="This group",
    patch_group="Change it",
    delete_group="Delete it",
    restore_group="Restore it after a deletion",
    list_members="Its members",
    list_group_changes="Its history",
)


@router.post(
    "/",
    status_code=201,
    response_model=GroupOut,
    responses={201: {**created_at("group", **REPLAYED), **LINKS}, **documented(400, 409, 415, 422)},
)
@calls(GroupService.create)
async def create_group(
    *,
    request: Request,
    groups: GroupsToWrite,
    body: GroupIn,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Create a group. If another group has the same name or external id, a 409 names the field."""
    show, new = SHOWN.by(fields), body.new_group()

    def answer(committed: Committed[Group]) -> Response:
        return created(request, groups, committed, show, "/groups")

    return await answer_idempotently(request, idempotency_key, groups, lambda: groups.create(new), answer)


@router.get("/", response_model=list[GroupOut], responses={200: LISTED, **documented(400, 422)})
@calls(GroupService.list_as_json)
async def list_groups(
    *,
    request: Request,
    groups: Groups,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    filter: FilterText = None,
    sort: SortText = None,
    deleted: Deleted = Hidden.NO,
    name: NameEquals = None,
    external_id: ExternalIdEquals = None,
    fields: Fields = None,
    count: Count = False,
    formulas: Formulas = "escape",
    accept: Accept = ("*/*",),
) -> Response:
    """List groups. By default these are the groups that are not deleted, sorted by id. `members eq 7` finds the groups
    of a user.

    With `Accept: application/x-ndjson` or `text/csv` the answer is the whole list as a stream.
    """
    return await answer_list(
        request,
        groups,
        SHOWN,
        filter=narrowed(FIELDS, filter, name=name, external_id=external_id),
        sort=sorted_by(FIELDS, sort),
        limit=limit,
        cursor=cursor,
        fields=fields,
        count=count,
        accept=accept,
        hidden=deleted,
        formulas=formulas,
    )


@router.get("/{id}", response_model=GroupOut, responses={200: ONE, **UNCHANGED, **documented(404, 410, 422)})
@calls(GroupService.get)
async def get_group(groups: Groups, id: GroupId, fields: Fields = None, if_none_match: IfNoneMatch = None) -> Response:
    """One group. A deleted group is a 410. A group that never existed or was erased is a 404."""
    show = SHOWN.by(fields)
    return one(groups, await groups.get(id), show, if_none_match)


FOUND: Final[dict[int | str, dict[str, Any]]] = {200: ONE, **UNCHANGED, **documented(404, 422)}


@router.get("/by/external-id/{key:path}", response_model=GroupOut, responses=FOUND)
@calls(GroupService.find)
async def get_group_by_external_id(
    groups: Groups, key: ExternalIdKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The group with this external id that is not deleted."""
    show = SHOWN.by(fields)
    return one(groups, await groups.find("external_id", key), show, if_none_match)


@router.get("/by/name/{key:path}", response_model=GroupOut, responses=FOUND)
@calls(GroupService.find)
async def get_group_by_name(
    groups: Groups, key: NameKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The group with this name that is not deleted."""
    show = SHOWN.by(fields)
    return one(groups, await groups.find("name", key), show, if_none_match)


@router.put(
    "/by/external-id/{key:path}",
    response_model=GroupOut,
    responses={
        200: {**WRITTEN, **LINKS},
        201: {"description": "Created", "model": GroupOut, **created_at("group"), **LINKS},
        **documented(400, 409, 412, 415, 422),
    },
)
@calls(GroupService.put)
async def put_group_by_external_id(
    *,
    request: Request,
    groups: GroupsToWrite,
    key: ExternalIdKey,
    body: GroupIn,
    fields: Fields = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Create the group with this external id, or replace its profile. Its members stay unchanged.

    With `If-None-Match: *` it only creates.
    """
    show, new = SHOWN.by(fields), body.new_group(external_id=key)
    put = await groups.put(new, expected=expected_by(if_match), unwanted=unwanted_by(if_none_match))
    group, is_new = put.result
    committed = Committed(group, put.seq)
    return created(request, groups, committed, show, "/groups") if is_new else changed(groups, committed, show)


@router.patch(
    "/{id}",
    response_model=GroupOut,
    responses={200: WRITTEN, **documented(400, 404, 409, 410, 412, 415, 422)},
    openapi_extra=patch_body("GroupPatch"),
)
@calls(GroupService.patch)
async def patch_group(
    groups: GroupsToWrite, id: GroupId, body: GroupPatch, fields: Fields = None, if_match: IfMatch = None
) -> Response:
    """Change a group by a JSON merge patch. A patch that changes nothing writes nothing and keeps the ETag."""
    show = SHOWN.by(fields)
    return changed(groups, await groups.patch(id, body.patch(), expected=expected_by(if_match)), show)


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(404, 410, 412, 422)},
)
@calls(GroupService.delete)
async def delete_group(groups: GroupsToWrite, id: GroupId, purge: Purge = False, if_match: IfMatch = None) -> Response:
    """Delete a group. It is hidden, its name is free, and it can be restored with its members. A second deletion is a
    410.

    With `purge` the group is erased, even if it is deleted, and its memberships end. This needs the scope `users:purge`
    too.
    """
    expected = expected_by(if_match)
    if purge:
        return gone(groups, await groups.purge(id, expected=expected))
    return gone(groups, await groups.delete(id, expected=expected))


@router.post("/{id}/restore", response_model=GroupOut, responses={200: WRITTEN_ONCE, **documented(404, 409, 422)})
@calls(GroupService.restore)
async def restore_group(
    *,
    request: Request,
    groups: GroupsToWrite,
    id: GroupId,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Restore a deleted group with its members. If another group has its name or external id now, a 409 names the
    field."""
    show = SHOWN.by(fields)

    def answer(committed: Committed[Group]) -> Response:
        return changed(groups, committed, show)

    return await answer_idempotently(request, idempotency_key, groups, lambda: groups.restore(id), answer)

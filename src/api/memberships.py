"""Memberships over HTTP: routes. Their bodies and parameters are in `api.bodies.memberships`."""

from collections.abc import AsyncGenerator, Awaitable
from typing import Annotated, Any, Final, NamedTuple, cast

from fastapi import Depends, Request, Response

from api.bodies.groups import SHOWN as GROUP_SHOWN
from api.bodies.groups import Fields as GroupFields
from api.bodies.groups import GroupId
from api.bodies.memberships import (
    NOTHING_MORE,
    SHOWN,
    SHOWN_NESTED,
    Fields,
    MemberId,
    MembersChangedOut,
    MembershipIn,
    MembershipOut,
    MembersIn,
    RecursiveGroups,
    RecursiveMembers,
    RoleEquals,
    UserGroupOut,
)
from api.bodies.users import UserId
from api.groups import FilterText as GroupFilter
from api.groups import Groups
from api.groups import SortText as GroupSort
from api.web.conditions import IfNoneMatch
from api.web.dependencies import Service, WritingService
from api.web.entities import GONE, ONE, REPLAYED, UNCHANGED, WRITE, gone, one
from api.web.idempotency import IdempotencyKeyHeader, answer_idempotently
from api.web.lists import LISTED, answer_list, listed, narrowed, position_in, refuse_parameters, sorted_by
from api.web.parameters import Accept, Count, Cursor, Formulas, Limit, filter_query
from api.web.problems import documented
from api.web.responses import documented_headers, json_answer, written
from api.web.routing import Router, calls
from domain.groups import FIELDS as GROUP_FIELDS
from domain.idempotency import Committed
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, DEFAULT_LIMIT, JsonPage, Page, Position, Sort
from domain.lists.projections import Projection
from domain.memberships import BY_USER, FIELDS, MembersChanged
from domain.stores import Hidden
from domain.work import RequestContext
from services.groups import GroupService
from services.memberships import MembershipService

router = Router("", "groups")

Memberships = Annotated[MembershipService, Depends(Service(lambda container: container.memberships))]
MembershipsToWrite = Annotated[MembershipService, Depends(WritingService(lambda container: container.memberships))]

PAGED: Final = documented_headers(
    Link='The next page, with rel="next", while there is more',
    Roster_Seq="The answer shows all changes up to this number, and perhaps later ones",
    Vary="Accept",
)
FilterText = Annotated[str | None, filter_query(FIELDS, 'role eq "lead"')]

CHANGED_ONCE: Final = documented_headers(**WRITE, **REPLAYED)


@router.put(
    "/groups/{id}/members/{user_id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(400, 404, 410, 415, 422)},
)
@calls(MembershipService.put)
async def put_member(
    memberships: MembershipsToWrite, id: GroupId, user_id: MemberId, body: MembershipIn = NOTHING_MORE
) -> Response:
    """Make a user a member of a group. Without a role in the body the role stays unchanged. Null removes it.

    Repeating the request changes nothing. It takes the same time for every size of the group.
    """
    given = body.model_dump(exclude_unset=True)
    return gone(memberships, await memberships.put(id, user_id, given))


@router.get(
    "/groups/{id}/members/{user_id}",
    response_model=MembershipOut,
    responses={200: ONE, **UNCHANGED, **documented(404, 410, 422)},
)
@calls(MembershipService.get)
async def get_member(
    memberships: Memberships,
    id: GroupId,
    user_id: MemberId,
    fields: Fields = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The membership of a user in a group, or a 404 if the user is not a direct member."""
    show = SHOWN.by(fields)
    return one(memberships, await memberships.get(id, user_id), show, if_none_match)


@router.delete(
    "/groups/{id}/members/{user_id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(404, 410, 422)},
)
@calls(MembershipService.remove)
async def remove_member(memberships: MembershipsToWrite, id: GroupId, user_id: MemberId) -> Response:
    """Remove a user from a group. If the user is not a member, nothing changes, and the answer is the same."""
    return gone(memberships, await memberships.remove(id, user_id))


@router.post(
    "/groups/{id}/members/",
    response_model=MembersChangedOut,
    responses={200: CHANGED_ONCE, **documented(400, 404, 409, 410, 415, 422)},
)
@calls(MembershipService.change)
async def change_members(
    *,
    request: Request,
    memberships: MembershipsToWrite,
    id: GroupId,
    body: MembersIn,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Add users to a group and remove others, all or none.

    Adding a user who is a member already, or removing a user who is not a member, is not an error. A 422 names each
    user to add who does not exist.
    """
    add = body.to_add()

    def answer(committed: Committed[MembersChanged]) -> Response:
        done = committed.result
        counts = {"added": done.added, "changed": done.changed, "removed": done.removed}
        return json_answer(counts, headers=written(memberships, committed))

    async def act() -> Committed[MembersChanged]:
        return await memberships.change(id, add=add, remove=body.remove)

    return await answer_idempotently(request, idempotency_key, memberships, act, answer)


class NestedMembersOf(NamedTuple):
    """The members of one group and of its parts, as a list. This list has no filter and no count."""

    service: MembershipService
    group_id: int

    @property
    def context(self) -> RequestContext:
        return self.service.context

    async def list_as_json(
        self, projection: Projection[Any], *, after: Position | None, limit: int, **_: object
    ) -> JsonPage:
        (last,) = after or (0,)
        page = await self.service.list_nested(self.group_id, after=cast("int", last), limit=limit)
        return projection.page(page, BY_USER)

    def export(self, projection: Projection[Any], **_: object) -> AsyncGenerator[JsonPage]:
        return self.service.export_nested(self.group_id, projection)

    def count(self, filter: Filter | None, *, hidden: Hidden) -> Awaitable[int]:  # type: ignore[override]
        raise NotImplementedError


class MembersOf(NamedTuple):
    """The members of one group, as a list. None of them is deleted."""

    service: MembershipService
    group_id: int

    @property
    def context(self) -> RequestContext:
        return self.service.context

    def list_as_json(
        self,
        projection: Projection[Any],
        *,
        filter: Filter | None,
        sort: Sort,
        hidden: Hidden,  # noqa: ARG002
        after: Position | None,
        limit: int,
    ) -> Awaitable[JsonPage]:
        return self.service.list_as_json(self.group_id, projection, filter=filter, sort=sort, after=after, limit=limit)

    def export(
        self,
        projection: Projection[Any],
        *,
        filter: Filter | None,
        sort: Sort,
        hidden: Hidden,  # noqa: ARG002
    ) -> AsyncGenerator[JsonPage]:
        return self.service.export(self.group_id, projection, filter=filter, sort=sort)

    def count(self, filter: Filter | None, *, hidden: Hidden) -> Awaitable[int]:  # type: ignore[override]  # noqa: ARG002
        return self.service.count(self.group_id, filter)


@router.get(
    "/groups/{id}/members/",
    response_model=list[MembershipOut],
    responses={200: LISTED, **documented(400, 404, 410, 422)},
)
@calls(MembershipService.list_as_json)
async def list_members(
    *,
    request: Request,
    memberships: Memberships,
    id: GroupId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    filter: FilterText = None,
    role: RoleEquals = None,
    fields: Fields = None,
    count: Count = False,
    recursive: RecursiveMembers = False,
    formulas: Formulas = "escape",
    accept: Accept = ("*/*",),
) -> Response:
    """List the members of a group, sorted by the ids of the users. Deleted users are left out.

    `GET /users/?filter=groups eq 1` lists the users themselves. With `recursive` each user is listed once, with its
    role in this group, and with the groups of which it is a direct member (`via`). Such a list cannot be filtered or
    counted.
    """
    if recursive:
        refuse_parameters(request, ("filter", "role", "count"), "Not with recursive.")
    return await answer_list(
        request,
        NestedMembersOf(memberships, id) if recursive else MembersOf(memberships, id),
        SHOWN_NESTED if recursive else SHOWN,
        filter=narrowed(FIELDS, filter, role=role),
        sort=BY_USER,
        limit=limit,
        cursor=cursor,
        fields=fields,
        count=count,
        accept=accept,
        formulas=formulas,
    )


@router.get(
    "/users/{id}/groups/",
    response_model=list[UserGroupOut],
    responses={
        200: PAGED,
        **documented(400, 404, 410, 422),
    },
)
@calls(GroupService.list_of_user)
async def list_user_groups(
    *,
    request: Request,
    groups: Groups,
    id: UserId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    filter: GroupFilter = None,
    sort: GroupSort = None,
    fields: GroupFields = None,
    recursive: RecursiveGroups = False,
) -> Response:
    """List the groups of which a user is a member.

    With `recursive` the list includes groups of which such a group is a part. Each is listed once, sorted by id, with
    the groups through which the user is in it (`via`). Such a list cannot be filtered or sorted.
    """
    show, order = GROUP_SHOWN.by(fields), sorted_by(GROUP_FIELDS, sort)
    after = position_in(request, groups, cursor, order)
    if recursive:
        refuse_parameters(request, ("filter", "sort"), "Not with recursive.")
        (last,) = BY_ID.keys_at(after or (0,))
        reached = await groups.list_reached(id, after=cast("int", last), limit=limit)
        via = {each.group.id: each.via for each in reached.items}
        page = Page([each.group for each in reached.items], reached.more, reached.seq)
        return listed(request, groups, page, lambda group: {**show(group), "via": via[group.id]}, BY_ID)
    wanted = narrowed(GROUP_FIELDS, filter)
    page = await groups.list_of_user(id, filter=wanted, sort=order, after=after, limit=limit)
    return listed(request, groups, page, show, order)

"""Users over HTTP: routes. Their bodies and parameters are in `api.user_bodies`."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from api.user_bodies import (
    SHOWN,
    EmailEquals,
    EmailKey,
    ExternalIdEquals,
    ExternalIdKey,
    Fields,
    Purge,
    StatusEquals,
    UserId,
    UserIn,
    UsernameEquals,
    UsernameKey,
    UserOut,
    UserPatch,
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
from api.web.lists import (
    LISTED,
    Accept,
    Count,
    Cursor,
    FilterText,
    Limit,
    SortText,
    answer_list,
    narrowed,
    sorted_by,
)
from api.web.problems import documented
from api.web.routing import Router, calls
from domain.idempotency import Committed
from domain.pages import DEFAULT_LIMIT
from domain.users import FIELDS, User
from services.users import UserService

router = Router("/users", "users")

users_to_read = Service(lambda container: container.users)
users_to_write = WritingService(lambda container: container.users)
Users = Annotated[UserService, Depends(users_to_read)]
UsersToWrite = Annotated[UserService, Depends(users_to_write)]

LINKS: Final = links(
    get_user="This user",
    patch_user="Change it",
    delete_user="Delete it",
    restore_user="Restore it after a deletion",
    list_user_changes="Its history",
)


@router.post(
    "/",
    status_code=201,
    response_model=UserOut,
    responses={201: {**created_at("user", **REPLAYED), **LINKS}, **documented(400, 409, 415, 422)},
)
@calls(UserService.create)
async def create_user(
    *,
    request: Request,
    users: UsersToWrite,
    body: UserIn,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Create a user. If another user has its e-mail, username or external id, a 409 names the field."""
    show, new = SHOWN.by(fields), body.new_user()

    def answer(committed: Committed[User]) -> Response:
        return created(request, users, committed, show, "/users")

    return await answer_idempotently(request, idempotency_key, users, lambda: users.create(new), answer)


@router.get("/", response_model=list[UserOut], responses={200: LISTED, **documented(400, 422)})
@calls(UserService.list)
async def list_users(
    *,
    request: Request,
    users: Users,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    filter: FilterText = None,
    sort: SortText = None,
    email: EmailEquals = None,
    username: UsernameEquals = None,
    external_id: ExternalIdEquals = None,
    status: StatusEquals = None,
    fields: Fields = None,
    count: Count = False,
    accept: Accept = ("*/*",),
) -> Response:
    """List the users that are not deleted, by default in the order of ids. A page costs the same at any depth.

    With `Accept: application/x-ndjson` or `text/csv` the answer is the whole list as a stream, in the state of one
    moment. In CSV, attributes are a cell of JSON, and a cell that a spreadsheet would run as a formula begins with an
    apostrophe.
    """
    return await answer_list(
        request,
        users,
        SHOWN,
        filter=narrowed(FIELDS, filter, email=email, username=username, external_id=external_id, status=status),
        sort=sorted_by(FIELDS, sort),
        limit=limit,
        cursor=cursor,
        fields=fields,
        count=count,
        accept=accept,
    )


@router.get("/{id}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(404, 410, 422)})
@calls(UserService.get)
async def get_user(users: Users, id: UserId, fields: Fields = None, if_none_match: IfNoneMatch = None) -> Response:
    """One user. For a deleted one the answer is a 410; for one that never existed, or was erased, a 404."""
    show = SHOWN.by(fields)
    return one(await users.get(id), show, if_none_match)


FOUND: Final[dict[int | str, dict[str, Any]]] = {200: ONE, **UNCHANGED, **documented(404, 422)}


@router.get("/by/external-id/{key:path}", response_model=UserOut, responses=FOUND)
@calls(UserService.find)
async def get_user_by_external_id(
    users: Users, key: ExternalIdKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this external id who is not deleted."""
    show = SHOWN.by(fields)
    return one(await users.find("external_id", key), show, if_none_match)


@router.get("/by/email/{key:path}", response_model=UserOut, responses=FOUND)
@calls(UserService.find)
async def get_user_by_email(
    users: Users, key: EmailKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this e-mail address who is not deleted."""
    show = SHOWN.by(fields)
    return one(await users.find("email", key), show, if_none_match)


@router.get("/by/username/{key:path}", response_model=UserOut, responses=FOUND)
@calls(UserService.find)
async def get_user_by_username(
    users: Users, key: UsernameKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this username who is not deleted."""
    show = SHOWN.by(fields)
    return one(await users.find("username", key), show, if_none_match)


@router.put(
    "/by/external-id/{key:path}",
    response_model=UserOut,
    responses={
        200: {**WRITTEN, **LINKS},
        201: {"description": "Created", **created_at("user"), **LINKS},
        **documented(400, 409, 412, 415, 422),
    },
)
@calls(UserService.put)
async def put_user_by_external_id(
    *,
    request: Request,
    users: UsersToWrite,
    key: ExternalIdKey,
    body: UserIn,
    fields: Fields = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Create the user with this external id, or replace its whole profile. The same request again changes nothing.

    With `If-None-Match: *` it only creates.
    """
    show, new = SHOWN.by(fields), body.new_user(external_id=key)
    put = await users.put(new, expected=expected_by(if_match), unwanted=unwanted_by(if_none_match))
    user, is_new = put.result
    committed = Committed(user, put.seq)
    return created(request, users, committed, show, "/users") if is_new else changed(users, committed, show)


@router.patch(
    "/{id}",
    response_model=UserOut,
    responses={200: WRITTEN, **documented(400, 404, 409, 410, 412, 415, 422)},
    openapi_extra=patch_body("UserPatch"),
)
@calls(UserService.patch)
async def patch_user(
    users: UsersToWrite, id: UserId, body: UserPatch, fields: Fields = None, if_match: IfMatch = None
) -> Response:
    """Change a user by a JSON merge patch. A patch that changes nothing writes nothing and keeps the ETag."""
    show = SHOWN.by(fields)
    return changed(users, await users.patch(id, body.patch(), expected=expected_by(if_match)), show)


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(404, 410, 412, 422)},
)
@calls(UserService.delete)
async def delete_user(users: UsersToWrite, id: UserId, purge: Purge = False, if_match: IfMatch = None) -> Response:
    """Delete a user. It is hidden, its unique values are free, and it can be restored. A second deletion is a 410.

    With `purge` the user is erased, deleted or not, and cannot be restored. A second erasure is a 404.
    """
    expected = expected_by(if_match)
    if purge:
        return gone(users, await users.purge(id, expected=expected))
    return gone(users, await users.delete(id, expected=expected))


@router.post("/{id}/restore", response_model=UserOut, responses={200: WRITTEN_ONCE, **documented(404, 409, 422)})
@calls(UserService.restore)
async def restore_user(
    *,
    request: Request,
    users: UsersToWrite,
    id: UserId,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Restore a deleted user. If another user has one of its unique values now, a 409 names the field."""
    show = SHOWN.by(fields)

    def answer(committed: Committed[User]) -> Response:
        return changed(users, committed, show)

    return await answer_idempotently(request, idempotency_key, users, lambda: users.restore(id), answer)

"""Users over HTTP: routes. Their bodies and parameters are in `api.bodies.users`."""

from typing import Annotated, Final

from fastapi import Depends, Request, Response

from api.bodies.users import (
    FIELD_OF,
    SHOWN,
    EmailEquals,
    ExternalIdEquals,
    ExternalIdName,
    Fields,
    IdentifierName,
    IdentifierValue,
    Purge,
    Restore,
    StatusEquals,
    UserId,
    UserIn,
    UsernameEquals,
    UserOut,
    UserPatch,
    identified,
)
from api.web.bodies import patch_body
from api.web.conditions import IfMatch, IfNoneMatch, expected_by, unwanted_by
from api.web.dependencies import Service, WritingService
from api.web.entities import (
    GONE,
    ONE,
    PENDING,
    REPLAYED,
    UNCHANGED,
    WRITTEN,
    WRITTEN_ONCE,
    changed,
    created_at,
    gone,
    links,
    one,
    put,
)
from api.web.idempotency import IdempotencyKeyHeader, answer_creation, answer_idempotently
from api.web.lists import LISTED, ListRequest, lists
from api.web.problems import documented
from api.web.routing import Router, calls
from domain.idempotency import Committed
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
    """Create a user. If another user has the same e-mail, username or external id, a 409 names the field."""
    show, new = SHOWN.by(fields), body.new_user()
    return await answer_creation(request, idempotency_key, users, lambda: users.create(new), show)


@router.get("/", response_model=list[UserOut], responses={200: LISTED, **documented(400, 422)})
@calls(UserService.list_as_json)
@lists(SHOWN, FIELDS, filter='status eq "active" and email ew "@example.org"', sort="name,-created_at")
async def list_users(
    *,
    asked: ListRequest[User],
    users: Users,
    email: EmailEquals = None,
    username: UsernameEquals = None,
    external_id: ExternalIdEquals = None,
    status: StatusEquals = None,
) -> Response:
    """List users. By default these are the users that are not deleted, sorted by id. A page costs the same at any
    depth.

    With `Accept: application/x-ndjson` or `text/csv` the answer is the whole list as a stream, as it was at one moment.
    NDJSON is for programs, CSV for spreadsheets. In CSV, attributes are a cell with JSON.

    To keep a mirror, read this list as NDJSON with `deleted=any`, then follow `/changes/` from the number in
    `Roster-Seq`.
    """
    return await asked.answer(users, email=email, username=username, external_id=external_id, status=status)


@router.get("/{id}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(400, 404, 410, 422)})
@calls(UserService.get)
async def get_user(users: Users, id: UserId, fields: Fields = None, if_none_match: IfNoneMatch = None) -> Response:
    """One user. A deleted user is a 410. A user that never existed or was erased is a 404."""
    show = SHOWN.by(fields)
    return one(users, await users.get(id), show, if_none_match)


@router.get(
    "/by/{identifier}/{value:path}",
    response_model=UserOut,
    responses={200: ONE, **UNCHANGED, **documented(400, 404, 422)},
)
@calls(UserService.find)
async def get_user_by(
    users: Users,
    identifier: IdentifierName,
    value: IdentifierValue,
    fields: Fields = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The user who has this identifier and is not deleted."""
    show = SHOWN.by(fields)
    return one(users, await users.find(*identified(identifier, value)), show, if_none_match)


@router.put(
    "/by/{identifier}/{value:path}",
    response_model=UserOut,
    responses={
        200: {**WRITTEN, **LINKS},
        201: {"description": "Created", "model": UserOut, **created_at("user"), **LINKS},
        **documented(400, 409, 412, 415, 422),
    },
)
@calls(UserService.put)
async def put_user_by(
    *,
    request: Request,
    users: UsersToWrite,
    identifier: ExternalIdName,
    value: IdentifierValue,
    body: UserIn,
    restore: Restore = False,
    fields: Fields = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Create the user with this external id, or replace its whole profile. Repeating the request changes nothing.

    With `If-None-Match: *` it only creates. With `restore` it restores a deleted user that had this external id.
    """
    show, new = SHOWN.by(fields), body.new_user(**{FIELD_OF[identifier]: value})
    expected, unwanted = expected_by(if_match), unwanted_by(if_none_match)
    committed = await users.put(new, restore=restore, expected=expected, unwanted=unwanted)
    return put(request, users, committed, show, "/users")


@router.patch(
    "/by/{identifier}/{value:path}",
    response_model=UserOut,
    responses={200: WRITTEN, **documented(400, 404, 409, 412, 415, 422)},
    openapi_extra=patch_body("UserPatch"),
)
@calls(UserService.patch)
async def patch_user_by(
    *,
    users: UsersToWrite,
    identifier: IdentifierName,
    value: IdentifierValue,
    body: UserPatch,
    fields: Fields = None,
    if_match: IfMatch = None,
) -> Response:
    """Change the user who has this identifier by a JSON merge patch, as with its id."""
    show, who = SHOWN.by(fields), identified(identifier, value)
    return changed(users, await users.patch(who, body.patch(), expected=expected_by(if_match)), show)


@router.delete(
    "/by/{identifier}/{value:path}",
    status_code=204,
    response_class=Response,
    responses={204: GONE, **documented(400, 404, 409, 412, 422)},
)
@calls(UserService.delete)
async def delete_user_by(
    users: UsersToWrite, identifier: IdentifierName, value: IdentifierValue, if_match: IfMatch = None
) -> Response:
    """Delete the user who has this identifier. After that, others can use the identifier, so a second deletion is a
    404."""
    return gone(users, await users.delete(identified(identifier, value), expected=expected_by(if_match)))


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
    responses={202: PENDING, 204: GONE, **documented(400, 404, 409, 410, 412, 422)},
)
@calls(UserService.delete)
async def delete_user(users: UsersToWrite, id: UserId, purge: Purge = False, if_match: IfMatch = None) -> Response:
    """Delete a user. It is hidden, others can use its unique values, and it can be restored. A second deletion is a
    410.

    With `purge` the user is erased, even if it is deleted, and cannot be restored. A second erasure is a 404. The
    answer is a 202 if the values may still be in the database's files. The server removes them as soon as it can.
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

"""Users over HTTP: bodies and routes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.web.bodies import attributes, patch_body, text
from api.web.conditions import IfMatch, IfNoneMatch, expected_by, unwanted_by
from api.web.dependencies import Service, WritingService
from api.web.entities import (
    GONE,
    ONE,
    REPLAYED,
    UNCHANGED,
    WRITTEN,
    WRITTEN_ONCE,
    Shown,
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
from api.web.requests import PlainInteger
from api.web.responses import pattern_of_fields
from api.web.routing import Router, calls
from domain.errors import Fault, Invalid
from domain.idempotency import Committed
from domain.pages import DEFAULT_LIMIT
from domain.users import ATTRIBUTES, EMAIL, EXTERNAL_ID, FIELDS, NAME, USERNAME, NewUser, Status, User
from domain.values import MAX_ID
from services.users import UserService

router = Router("/users", "users")

users_to_read = Service(lambda container: container.users)
users_to_write = WritingService(lambda container: container.users)
Users = Annotated[UserService, Depends(users_to_read)]
UsersToWrite = Annotated[UserService, Depends(users_to_write)]

Name = Annotated[str, text(NAME, "Stored without surrounding blanks", "Alice")]
Email = Annotated[str, text(EMAIL, "Stored as typed; unique regardless of case", "alice@example.org")]
Username = Annotated[str, text(USERNAME, "Stored as typed; unique regardless of case", "alice")]
ExternalId = Annotated[str, text(EXTERNAL_ID, "The client's own id; unique and exact in case", "hr-4711")]
Attributes = Annotated[dict[str, Any], attributes(ATTRIBUTES, {"department": "eng"})]


ALICE: Final[dict[str, Any]] = {
    "name": "Alice",
    "email": "alice@example.org",
    "username": "alice",
    "external_id": "hr-4711",
    "status": "suspended",
    "attributes": {"department": "eng"},
}


class UserIn(BaseModel):
    """A user to be created."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Alice"}, ALICE]})

    name: Name
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status = Status.ACTIVE
    attributes: Attributes = Field(default_factory=dict)

    def new_user(self, **known: str) -> NewUser:
        """The new user, with `known` values of the path. Raises `Invalid` if the body contradicts them."""
        if any(getattr(self, name) not in {None, value} for name, value in known.items()):
            raise Invalid([Fault(f"/{name}", "not_allowed", "Must be as in the path.") for name in known])
        return NewUser(**{**dict(self), **known})


PATCH: Final[dict[str, Any]] = {"status": "suspended", "email": None, "attributes": {"department": None, "floor": 3}}


class UserPatch(BaseModel):
    """A JSON merge patch (RFC 7396). A field that is left out stays, null clears a field, attributes are merged."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [PATCH]})

    name: Name = Field(default_factory=str)
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status | None = None
    attributes: Attributes | None = None

    def patch(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


WHEN: Final = "2026-07-01T12:00:00.123456Z"


class UserOut(BaseModel):
    """A user. Fields without a value are left out, and so is the status `active`. Headers have version and time.

    With `fields` it has exactly the fields that were asked for, null if they have no value. So none is required.
    """

    model_config = ConfigDict(json_schema_extra={"required": [], "examples": [{"id": 1, "name": "Alice"}]})

    id: Annotated[int, Field(description="Never given out again", ge=1, le=MAX_ID, examples=[1])]
    name: Name
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status = Status.ACTIVE
    attributes: Attributes = Field(default_factory=dict)
    created_at: Annotated[datetime, Field(description="When it was created, RFC 3339 in UTC", examples=[WHEN])]
    updated_at: Annotated[datetime, Field(description="When it last changed, RFC 3339 in UTC", examples=[WHEN])]
    deleted_at: Annotated[datetime | None, Field(description="When it was deleted, null while it is not")]
    version: Annotated[int, Field(ge=1, description="Rises by one with each change", examples=[1])]


NAMES: Final = tuple(UserOut.model_fields)

UserId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a user", examples=[1])]
Fields = Annotated[
    str | None,
    Query(
        description=f"Which fields to show: `*` for all, or some of {', '.join(NAMES)}. Those without a value are null",
        examples=["id,email"],
        json_schema_extra={"pattern": pattern_of_fields(NAMES)},
    ),
]


def key_equals(description: str, example: str) -> Any:
    return Query(description=f"Only the user with this {description}. Short for a filter with `eq`", examples=[example])


EmailEquals = Annotated[str | None, key_equals("e-mail address, regardless of case", "alice@example.org")]
UsernameEquals = Annotated[str | None, key_equals("username, regardless of case", "alice")]
ExternalIdEquals = Annotated[str | None, key_equals("external id, exact in case", "hr-4711")]
StatusEquals = Annotated[Status | None, Query(description="Only users of this status", examples=["active"])]
Purge = Annotated[bool, Query(description="Erase it for good, with its values in old changes", examples=[True])]
EmailKey = Annotated[str, Path(description="The address, regardless of case", examples=["alice@example.org"])]
UsernameKey = Annotated[str, Path(description="The username, regardless of case", examples=["alice"])]
ExternalIdKey = Annotated[str, Path(description="The external id, exact in case", examples=["hr-4711"])]

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


def sparse(user: User) -> Mapping[str, Any]:
    """The id, the name, and the other fields that have a value."""
    body: dict[str, Any] = {"id": user.id, "name": user.name}
    if user.email is not None:
        body["email"] = user.email
    if user.username is not None:
        body["username"] = user.username
    if user.external_id is not None:
        body["external_id"] = user.external_id
    if user.status is not Status.ACTIVE:
        body["status"] = user.status
    if user.attributes:
        body["attributes"] = user.attributes
    return body


SHOWN: Final = Shown(User, NAMES, sparse)

"""Users over HTTP: bodies and routes."""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.web.conditions import IfMatch, IfNoneMatch, expected_by, tag_of, unwanted_by
from api.web.dependencies import Users, UsersToWrite
from api.web.idempotency import IdempotencyKeyHeader, answer_idempotently
from api.web.lists import (
    LISTED,
    Accept,
    Count,
    Cursor,
    FilterText,
    Limit,
    SortText,
    listed,
    narrowed,
    position_in,
    refuse_paging,
    sorted_by,
)
from api.web.problems import documented
from api.web.requests import JSON_TYPE, MERGE_PATCH_TYPE, PlainInteger
from api.web.responses import (
    EVERY_FIELD,
    documented_headers,
    fields_asked_for,
    json_answer,
    pattern_of_fields,
    written,
)
from api.web.routing import Router
from api.web.streams import CSV, JSON, media_type_for, stream
from domain.errors import Fault, Invalid
from domain.pages import DEFAULT_LIMIT
from domain.users import ATTRIBUTES, EMAIL, EXTERNAL_ID, FIELDS, NAME, USERNAME, NewUser, Status, User
from domain.values import MAX_ID, Text

router = Router("/users", "users")


NOT_BLANK: Final = r"^[^\u0000]*\S[^\u0000]*$"
"""Nor with the character NUL."""


def bounded(rule: Text, description: str, example: str) -> Any:
    """What the schema says of a string; the domain enforces it."""
    return Field(
        description=description,
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": rule.max, "pattern": NOT_BLANK},
    )


Name = Annotated[str, bounded(NAME, "Kept without the blanks around it", "Alice")]
Email = Annotated[str, bounded(EMAIL, "Kept as typed; unique whatever its case", "alice@example.org")]
Username = Annotated[str, bounded(USERNAME, "Kept as typed; unique whatever its case", "alice")]
ExternalId = Annotated[str, bounded(EXTERNAL_ID, "The client's own id; unique to the letter", "hr-4711")]
Attributes = Annotated[
    dict[str, Any],
    Field(
        description="An object of the client's own: "
        f"at most {ATTRIBUTES.max_bytes} bytes as JSON and {ATTRIBUTES.max_depth} levels",
        examples=[{"department": "eng"}],
    ),
]


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
        """The new user; what is `known` from elsewhere may not be contradicted."""
        if any(getattr(self, name) not in {None, value} for name, value in known.items()):
            raise Invalid([Fault(f"/{name}", "not_allowed", "Must be as in the path.") for name in known])
        return NewUser(**{**dict(self), **known})


PATCH: Final[dict[str, Any]] = {"status": "suspended", "email": None, "attributes": {"department": None, "floor": 3}}


class UserPatch(BaseModel):
    """A JSON merge patch (RFC 7396): what is left out stays, null clears, attributes merge member by member."""

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
    """A user. What is not assigned is left out, a status of `active` too; bookkeeping is in the headers.

    With `fields`, exactly the fields that were asked for, null where there is nothing: so none of them is required.
    """

    model_config = ConfigDict(json_schema_extra={"required": [], "examples": [{"id": 1, "name": "Alice"}]})

    id: Annotated[int, Field(description="Given out once, never again", ge=1, le=MAX_ID, examples=[1])]
    name: Name
    email: Email | None = None
    username: Username | None = None
    external_id: ExternalId | None = None
    status: Status = Status.ACTIVE
    attributes: Attributes = Field(default_factory=dict)
    created_at: Annotated[datetime, Field(description="When it was created, RFC 3339 in UTC", examples=[WHEN])]
    updated_at: Annotated[datetime, Field(description="When it last changed, RFC 3339 in UTC", examples=[WHEN])]
    deleted_at: Annotated[datetime | None, Field(description="When it was deleted, null while it is not")]
    version: Annotated[int, Field(ge=1, description="One more with each change", examples=[1])]


SHOWN: Final = tuple(UserOut.model_fields)

UserId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a user", examples=[1])]
Fields = Annotated[
    str | None,
    Query(
        description=f"Which fields to show: `*` for all, or some of {', '.join(SHOWN)}. Those without a value are null",
        examples=["id,email"],
        json_schema_extra={"pattern": pattern_of_fields(SHOWN)},
    ),
]


def key_equals(description: str, example: str) -> Any:
    return Query(description=f"Only the user with this {description}. Short for a filter with `eq`", examples=[example])


EmailEquals = Annotated[str | None, key_equals("e-mail address, whatever its case", "alice@example.org")]
UsernameEquals = Annotated[str | None, key_equals("username, whatever its case", "alice")]
ExternalIdEquals = Annotated[str | None, key_equals("external id, to the letter", "hr-4711")]
StatusEquals = Annotated[Status | None, Query(description="Only users of this status", examples=["active"])]
Purge = Annotated[bool, Query(description="Erase it for good, with what old changes say of it", examples=[True])]
EmailKey = Annotated[str, Path(description="The address, whatever its case", examples=["alice@example.org"])]
UsernameKey = Annotated[str, Path(description="The username, whatever its case", examples=["alice"])]
ExternalIdKey = Annotated[str, Path(description="The external id, to the letter", examples=["hr-4711"])]

VERSION: Final = {"ETag": "The version, as a strong entity tag", "Last_Modified": "When it last changed"}
WRITE: Final = {
    "Roster_Seq": "The sequence number of the change that was written; missing if nothing was",
    "Dry_Run": "true, if nothing was stored because of dry_run",
}
ONE: Final = documented_headers(**VERSION)
WRITTEN: Final = documented_headers(**VERSION, **WRITE)
REPLAYED: Final = {"Idempotency_Replayed": "true, if this is the answer that the idempotency key had before"}
RESTORED: Final = documented_headers(**VERSION, **WRITE, **REPLAYED)
PUT: Final = documented_headers(Location="Where the user is", **VERSION, **WRITE)
CREATED: Final = documented_headers(Location="Where the user is", **VERSION, **WRITE, **REPLAYED)
LINKS: Final = {
    "links": {
        name: {"operationId": name, "parameters": {"id": "$response.body#/id"}, "description": description}
        for name, description in {
            "get_user": "This user",
            "patch_user": "Change it",
            "delete_user": "Delete it",
            "restore_user": "Bring it back, once deleted",
            "list_user_changes": "Its history",
        }.items()
    }
}
UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "The client has this version already", **ONE}}


@router.post(
    "/",
    status_code=201,
    response_model=UserOut,
    responses={201: {**CREATED, **LINKS}, **documented(400, 409, 415, 422)},
)
async def create_user(
    request: Request,
    users: UsersToWrite,
    body: UserIn,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Create a user. A key (e-mail, username, external id) that another user has is a 409 that names it."""
    show = shown(fields)
    new = body.new_user()

    def answer(user: User) -> Response:
        headers = {**validators(user), **written(users), "Location": location_of(request, user)}
        return json_answer(show(user), 201, headers)

    return await answer_idempotently(request, idempotency_key, users, lambda: users.create(new), answer)


@router.get("/", response_model=list[UserOut], responses={200: LISTED, **documented(400, 422)})
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
    """List the users that are not deleted, by id if not sorted. A page costs the same at any depth.

    Asked for `application/x-ndjson` or `text/csv`, the answer is the whole list as a stream, of one moment. In CSV,
    attributes are a cell of JSON, and what a spreadsheet would run as a formula has an apostrophe before it.
    """
    show = shown(fields)
    wanted = narrowed(FIELDS, filter, email=email, username=username, external_id=external_id, status=status)
    order = sorted_by(FIELDS, sort)
    if (media_type := media_type_for(accept)) != JSON:
        refuse_paging(request, media_type)
        columns = fields_asked_for(fields or EVERY_FIELD, SHOWN)
        show = shown(fields or EVERY_FIELD) if media_type == CSV else show
        return await stream(request, media_type, users.export(filter=wanted, sort=order), show, columns)
    page = await users.list(filter=wanted, sort=order, after=position_in(request, cursor, order), limit=limit)
    total = await users.count(wanted) if count else None
    return listed(request, page, show, order, total)


@router.get("/{id}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(404, 410, 422)})
async def get_user(users: Users, id: UserId, fields: Fields = None, if_none_match: IfNoneMatch = None) -> Response:
    """One user. A deleted one is a 410; one that never was, or was erased, a 404."""
    show = shown(fields)
    return one(await users.get(id), show, if_none_match)


@router.get(
    "/by/external-id/{key:path}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(404, 422)}
)
async def get_user_by_external_id(
    users: Users, key: ExternalIdKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this external id who is not deleted."""
    show = shown(fields)
    return one(await users.find("external_id", key), show, if_none_match)


@router.get("/by/email/{key:path}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(404, 422)})
async def get_user_by_email(
    users: Users, key: EmailKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this e-mail address who is not deleted."""
    show = shown(fields)
    return one(await users.find("email", key), show, if_none_match)


@router.get(
    "/by/username/{key:path}", response_model=UserOut, responses={200: ONE, **UNCHANGED, **documented(404, 422)}
)
async def get_user_by_username(
    users: Users, key: UsernameKey, fields: Fields = None, if_none_match: IfNoneMatch = None
) -> Response:
    """The user with this username who is not deleted."""
    show = shown(fields)
    return one(await users.find("username", key), show, if_none_match)


@router.put(
    "/by/external-id/{key:path}",
    response_model=UserOut,
    responses={
        200: {**WRITTEN, **LINKS},
        201: {"description": "Created", **PUT, **LINKS},
        **documented(400, 409, 412, 415, 422),
    },
)
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
    """Create the user with this external id, or replace its profile by this one. Asked again, nothing changes.

    With `If-None-Match: *` it only creates.
    """
    show = shown(fields)
    new = body.new_user(external_id=key)
    user, created = await users.put(new, expected=expected_by(if_match), unwanted=unwanted_by(if_none_match))
    headers = {**validators(user), **written(users)}
    if created:
        return json_answer(show(user), 201, {**headers, "Location": location_of(request, user)})
    return json_answer(show(user), headers=headers)


PATCH_BODY: Final = {
    "requestBody": {
        "content": {
            media_type: {"schema": {"$ref": "#/components/schemas/UserPatch"}}
            for media_type in (MERGE_PATCH_TYPE, JSON_TYPE)
        }
    }
}


@router.patch(
    "/{id}",
    response_model=UserOut,
    responses={200: WRITTEN, **documented(400, 404, 409, 410, 412, 415, 422)},
    openapi_extra=PATCH_BODY,
)
async def patch_user(
    users: UsersToWrite, id: UserId, body: UserPatch, fields: Fields = None, if_match: IfMatch = None
) -> Response:
    """Change a user by a JSON merge patch. One that changes nothing writes nothing and keeps the ETag."""
    show = shown(fields)
    user = await users.patch(id, body.patch(), expected=expected_by(if_match))
    return json_answer(show(user), headers={**validators(user), **written(users)})


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses={204: documented_headers(**WRITE), **documented(404, 410, 412, 422)},
)
async def delete_user(users: UsersToWrite, id: UserId, purge: Purge = False, if_match: IfMatch = None) -> Response:
    """Delete a user: it is hidden and its keys are free again, until it is restored. Asked once more: 410.

    With `purge` it is erased, deleted or not, and nothing brings it back. Asked once more: 404.
    """
    if purge:
        await users.purge(id, expected=expected_by(if_match))
    else:
        await users.delete(id, expected=expected_by(if_match))
    return Response(status_code=204, headers=written(users))


@router.post("/{id}/restore", response_model=UserOut, responses={200: RESTORED, **documented(404, 409, 422)})
async def restore_user(
    request: Request,
    users: UsersToWrite,
    id: UserId,
    fields: Fields = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Bring a deleted user back. A key that another user took meanwhile is a 409 that names it."""
    show = shown(fields)

    def answer(user: User) -> Response:
        return json_answer(show(user), headers={**validators(user), **written(users)})

    return await answer_idempotently(request, idempotency_key, users, lambda: users.restore(id), answer)


def one(user: User, show: Callable[[User], Mapping[str, Any]], if_none_match: str | None) -> Response:
    if user.version in unwanted_by(if_none_match):
        return Response(status_code=304, headers=validators(user))
    return json_answer(show(user), headers=validators(user))


def validators(user: User) -> dict[str, str]:
    return {"ETag": tag_of(user.version), "Last-Modified": format_datetime(user.updated_at, usegmt=True)}


def location_of(request: Request, user: User) -> str:
    return f"{request.scope.get('root_path', '')}/users/{user.id}"


def shown(fields: str | None) -> Callable[[User], Mapping[str, Any]]:
    """How to show a user, decided before anything is done: a bad `fields` parameter changes nothing."""
    if fields is None:
        return sparse
    names = fields_asked_for(fields, SHOWN)
    return lambda user: {name: getattr(user, name) for name in names}


def sparse(user: User) -> Mapping[str, Any]:
    """The id, the name, and what else is assigned."""
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

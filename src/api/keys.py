"""API keys over HTTP: bodies and routes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticKnownError

from api.web.bodies import BodyIn, PlainId
from api.web.dependencies import Service, WritingService
from api.web.lists import listed, position_in
from api.web.parameters import Cursor, Limit
from api.web.problems import documented
from api.web.requests import overlap_in, overlap_query
from api.web.responses import documented_headers, json_answer, written
from api.web.routing import Router, calls
from domain.keys import NAME, Key, NewKey, Scope
from domain.lists.pages import BY_ID, DEFAULT_LIMIT
from domain.values import MAX_ID, instant
from services.keys import MAX_OVERLAP, KeyService

router = Router("/keys", "keys")

Keys = Annotated[KeyService, Depends(Service(lambda container: container.keys))]
KeysToWrite = Annotated[KeyService, Depends(WritingService(lambda container: container.keys))]

Name = Annotated[
    str,
    Field(
        description="A name that tells people who uses it",
        examples=["nightly import"],
        json_schema_extra={"minLength": 1, "maxLength": NAME.max},
    ),
]
Scopes = Annotated[
    list[Scope],
    Field(description="What it allows", examples=[[Scope.USERS_READ]], min_length=1, max_length=50),
]
Secret = Annotated[
    str,
    Field(
        description="Send it as Authorization: Bearer. It is shown only this once",
        examples=["rk_1_0123456789abcdefghijklmnopqrstuvABCDEF"],
    ),
]


def time_in(text: object) -> datetime | None:
    """Parse a time in RFC 3339, and return it in UTC. Pydantic would accept numbers too."""
    if text is None:
        return None
    if not isinstance(text, str) or (time := instant(text)) is None:
        raise PydanticKnownError("datetime_parsing", {"error": "not a time of RFC 3339"})
    return time


class KeyIn(BodyIn):
    """A key to be created."""

    name: Name
    scopes: Scopes
    expires_at: Annotated[
        AwareDatetime | None, BeforeValidator(time_in), Field(description="When it expires, RFC 3339")
    ] = None

    def new_key(self) -> NewKey:
        return NewKey(name=self.name, scopes=tuple(self.scopes), expires_at=self.expires_at)


class KeyOut(BaseModel):
    """A key, without its secret."""

    id: Annotated[int, Field(ge=1, le=MAX_ID, examples=[1])]
    name: Name
    scopes: Scopes
    created_at: Annotated[datetime, Field(description="When it was created")]
    expires_at: Annotated[datetime | None, Field(description="When it expires")]
    rotated_at: Annotated[
        datetime | None, Field(description="When it got its present secret, if that is not its first one")
    ]
    revoked_at: Annotated[datetime | None, Field(description="When it was revoked")]
    last_used_at: Annotated[datetime | None, Field(description="When it was last used, exact to a few minutes")]


class KeyWithSecret(KeyOut):
    """A key with its secret, which is shown only this once."""

    secret: Secret


DEFAULT_OVERLAP: Final = "24h"
SHOWN: Final = tuple(KeyOut.model_fields)
NOT_KEPT: Final = {"Cache-Control": "no-store"}
CREATED: Final = documented_headers(Location="Where the key is", Roster_Seq="The number of the change", Dry_Run="true")

KeyId = Annotated[PlainId, Path(description="The id of a key", examples=[1])]
Overlap = Annotated[str, overlap_query("How long the previous secret stays valid")]


@router.post("/", status_code=201, response_model=KeyWithSecret, responses={201: CREATED, **documented(400, 415, 422)})
@calls(KeyService.create)
async def create_key(request: Request, keys: KeysToWrite, body: KeyIn) -> Response:
    """Create a key. The caller must have all its scopes. After the first key is created, every call needs one."""
    committed = await keys.create(body.new_key())
    key, secret = committed.result
    location = f"{request.scope.get('root_path', '')}/keys/{key.id}"
    return json_answer(
        {**shown(key), "secret": secret}, 201, {**written(keys, committed), **NOT_KEPT, "Location": location}
    )


@router.get("/", response_model=list[KeyOut], responses=documented(400, 422))
@calls(KeyService.list)
async def list_keys(request: Request, keys: Keys, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
    """List the keys that are not revoked, sorted by id."""
    after = position_in(request, keys, cursor, BY_ID)
    return listed(request, keys, await keys.list(after=after, limit=limit), shown, BY_ID)


@router.get("/{id}", response_model=KeyOut, responses=documented(404, 422))
@calls(KeyService.get)
async def get_key(keys: Keys, id: KeyId) -> Response:
    """One key, even if it is revoked."""
    return json_answer(shown(await keys.get(id)))


@router.post("/{id}/rotate", response_model=KeyWithSecret, responses=documented(404, 422))
@calls(KeyService.rotate)
async def rotate_key(keys: KeysToWrite, id: KeyId, overlap: Overlap = DEFAULT_OVERLAP) -> Response:
    """Give a key a new secret. The previous one stays valid for the overlap."""
    committed = await keys.rotate(id, overlap=overlap_in(overlap, MAX_OVERLAP))
    key, secret = committed.result
    return json_answer({**shown(key), "secret": secret}, headers={**written(keys, committed), **NOT_KEPT})


@router.delete("/{id}", status_code=204, response_class=Response, responses=documented(404, 409, 422))
@calls(KeyService.revoke)
async def revoke_key(keys: KeysToWrite, id: KeyId) -> Response:
    """Revoke a key. It takes effect in this process at once, and in all other processes within 5 seconds.

    The last key that may administer keys cannot be revoked here: the answer is a 409. Only the command line can revoke
    it.
    """
    committed = await keys.revoke(id)
    return Response(status_code=204, headers=written(keys, committed))


def shown(key: Key) -> Mapping[str, Any]:
    return {name: getattr(key, name) for name in SHOWN}

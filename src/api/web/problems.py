"""Problem documents (RFC 9457): one table from the class of a refusal to a status, and one form for all errors.

A document contains no value that a client sent, and no text of an exception that is not a Refusal.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from api.words import sentence_of
from domain.errors import (
    BrokenReference,
    Busy,
    Conflict,
    Contended,
    Damaged,
    Fault,
    FilesRemoved,
    Gone,
    InUse,
    Invalid,
    Malformed,
    NoSpace,
    NotFound,
    PositionExpired,
    Refusal,
    Stale,
    Uncertain,
    Unreachable,
)
from domain.idempotency import IdempotencyKeyReused, InFlight
from domain.imports import TooManyDeletions
from domain.keys import Forbidden, Key, LastAdminKey, TooManyFailures, Unauthenticated
from domain.nestings import Cycle
from domain.values import escape

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[Refusal], int]] = {
    Malformed: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    InUse: 409,
    BrokenReference: 409,
    Gone: 410,
    PositionExpired: 410,
    InFlight: 409,
    LastAdminKey: 409,
    Cycle: 409,
    TooManyDeletions: 409,
    Stale: 412,
    IdempotencyKeyReused: 422,
    TooManyFailures: 429,
    Invalid: 422,
    Busy: 503,
    Contended: 503,
    Unreachable: 503,
    NoSpace: 503,
    Damaged: 503,
    FilesRemoved: 503,
    Uncertain: 503,
}

RETRY_AFTER_S: Final[Mapping[type[Refusal], int]] = {
    Busy: 1,
    Contended: 1,
    InFlight: 1,
    Unreachable: 5,
    NoSpace: 60,
    Damaged: 60,
    FilesRemoved: 60,
    TooManyFailures: 60,
}
"""Seconds for Retry-After. `Uncertain` has none: if the request is repeated without a check, it may be carried out
twice."""

CODES: Final[Mapping[int, str]] = {
    400: "malformed",
    404: "no_such_path",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    500: "internal_error",
}
"""The codes of errors of HTTP itself."""

NEWER_TITLES: Final[Mapping[int, str]] = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Titles from RFC 9110 that Python has only since 3.13, so that answers and openapi.json are the same on all
versions."""

CHALLENGE: Final = 'Bearer realm="roster"'
MAX_ERRORS: Final = 50
MAX_POINTER: Final = 200


class ProblemError(BaseModel):
    pointer: Annotated[
        str,
        Field(
            description="The place: a JSON pointer into the request, which begins with body, query, path or header",
            examples=["/body/email"],
        ),
    ]
    code: Annotated[str, Field(description="What, for programs", examples=["too_long"])]
    detail: Annotated[str, Field(description="What, for people", examples=["Must hold at most 254 characters."])]
    id: Annotated[
        int | None,
        Field(description="The id of the entity that has the value, if the caller may read it", examples=[7]),
    ] = None


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: Annotated[str, Field(description="A URN of the code", examples=["urn:roster:problem:conflict"])]
    title: Annotated[str, Field(description="The status in words", examples=["Conflict"])]
    status: Annotated[int, Field(description="The HTTP status", ge=400, le=599, examples=[409])]
    detail: Annotated[str, Field(description="What happened, for people", examples=["Another one has this email."])]
    instance: Annotated[
        str | None, Field(description="The path of the request, if it could be parsed", examples=["/users/"])
    ] = None
    code: Annotated[str, Field(description="What happened, for programs", examples=["conflict"])]
    position: Annotated[
        int | None, Field(description="The character of the filter or sort at which the error is, counted from 0")
    ] = None
    request_id: Annotated[str, Field(description="Also in X-Request-Id and in the server's log")]
    errors: Annotated[list[ProblemError] | None, Field(description="Each broken rule, with its place")] = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses, and any other one, as problem documents.

    Statuses that all routes share are not declared here. `api.web.openapi` adds them.
    """
    named: tuple[int | str, ...] = (*statuses, "default")
    return {status: {"$ref": f"#/components/responses/{name_of(status)}"} for status in named}


def name_of(status: int | str) -> str:
    """The name of the answers with this status in the OpenAPI document."""
    return title_of(status).replace(" ", "") if isinstance(status, int) else "OtherRefusal"


def title_of(status: int) -> str:
    return NEWER_TITLES.get(status) or HTTPStatus(status).phrase


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    holders: Mapping[str, int] | None = None,
    position: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    errors = [shown(fault, (holders or {}).get(fault.pointer)) for fault in faults]
    document = {
        "type": f"urn:roster:problem:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "instance": quote(request.scope["path"].encode(errors="replace"))[:MAX_POINTER],
        "code": code,
        "request_id": request.state.request_id,
        **({} if position is None else {"position": position}),
        **({"errors": errors[:MAX_ERRORS]} if errors else {}),
    }
    dry = {"Dry-Run": "true"} if getattr(request.state, "dry_run", False) else {}
    return Response(to_json(document), status, {**(headers or {}), **dry}, MEDIA_TYPE)


def shown(fault: Fault, holder: int | None) -> Mapping[str, object]:
    error = {"pointer": fault.pointer[:MAX_POINTER], "code": fault.code, "detail": fault.detail}
    return error if holder is None else {**error, "id": holder}


async def refused(request: Request, refusal: Refusal) -> Response:
    status = STATUS[type(refusal)]
    retry_after = RETRY_AFTER_S.get(type(refusal))
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(refusal, PositionExpired) and refusal.last:
        headers["Roster-Seq"] = str(refusal.last)
    return problem(
        request,
        status,
        refusal.code,
        refusal.detail,
        faults=faults_of(refusal),
        holders=holders_in(refusal, request),
        position=refusal.position if isinstance(refusal, Malformed) else None,
        headers=headers,
    )


def faults_of(refusal: Refusal) -> Sequence[Fault]:
    match refusal:
        case Invalid(faults=faults):
            return [Fault(f"/body{fault.pointer}", fault.code, fault.detail) for fault in faults]
        case Conflict(fields=fields, taken=taken):
            together = fields if len(fields) > 1 else ()
            names = {name: together if name in together else (name,) for name in (*together, *taken)}
            return [
                Fault(f"/body/{name}", "taken", f"Another one has this {' and '.join(those)}.")
                for name, those in names.items()
            ]
        case _:
            return ()


def holders_in(refusal: Refusal, request: Request) -> Mapping[str, int]:
    """For each pointer the id of the entity that has the value, if the caller may read such entities."""
    if not isinstance(refusal, Conflict):
        return {}
    key: Key | None = request.state.key
    if key is not None and f"{refusal.kind}s:read" not in key.scopes:
        return {}
    return {f"/body/{name}": id for name, id in refusal.taken.items() if id is not None}


async def invalid(request: Request, error: RequestValidationError) -> Response:
    """The answer to a body or parameter of the wrong form. Pydantic's errors are shown without the input."""
    faults = [Fault(pointer_to(each["loc"]), code_of(each["type"]), sentence_of(each)) for each in error.errors()]
    return problem(request, 422, Invalid.code, "Some values have the wrong form.", faults=faults)


def pointer_to(location: Sequence[str | int]) -> str:
    """A place in the request as a JSON pointer. Names come from the client, so lone surrogates are removed."""
    steps = (escape(str(step)).encode(errors="replace").decode() for step in location)
    return "".join(f"/{step}" for step in steps)


WORDS: Final[Mapping[str, str]] = {
    "missing": "missing",
    "extra_forbidden": "unknown",
    "string_unicode": "forbidden_character",
    "string_too_long": "too_long",
    "enum": "not_allowed",
    "literal_error": "not_allowed",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "int_parsing_size": "out_of_range",
}


def code_of(pydantic_type: str) -> str:
    """Roster's code for an error of pydantic, so that clients do not depend on a library."""
    if pydantic_type.endswith(("_type", "_parsing")):
        return "wrong_type"
    return WORDS.get(pydantic_type, "invalid")


async def http_refused(request: Request, error: HTTPException) -> Response:
    """The answer to an error of the framework: unknown paths, wrong methods, bodies that cannot be parsed."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(methods_at(request))
    code = CODES.get(error.status_code, "refused")
    return problem(request, error.status_code, code, DETAILS.get(error.status_code, error.detail), headers=headers)


DETAILS: Final = {
    404: "There is nothing at this path.",
    405: "This path does not support that method. Allow lists those that it supports.",
}


def methods_at(request: Request) -> Iterable[str]:
    """All methods that routes answer at this path. The framework names only those of one route.

    A mount claims to answer every method, but it only serves files for reading.
    """
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        asked = "GET" if method == "HEAD" else method
        scope = {"type": "http", "path": request.scope["path"], "root_path": "", "method": asked, "headers": []}
        for route in request.app.router.routes:
            if route.matches(scope)[0] is Match.FULL and (asked == "GET" or not isinstance(route, Mount)):
                yield method
                break


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_refused)  # type: ignore[arg-type]

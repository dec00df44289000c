"""The OpenAPI document: what each route declares, completed by what all of them share."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.web.access import NO_KEY, SECURITY_SCHEME
from api.web.problems import CHALLENGE, DETAILS, MEDIA_TYPE, Problem, name_of, title_of
from api.web.requests import BODY_TIMEOUT_S, MAX_BODY_BYTES
from domain.errors import Damaged, FilesRemoved, NoSpace, PositionExpired, Unreachable
from domain.imports import Share, TooManyDeletions

REQUEST_ID: Final = "8d1f5a0c6b7e4f0d9a3c2b1e0f9d8c7b"

Example = Mapping[str, Any]


def example(status: int, code: str, detail: str, **more: object) -> Example:
    return {
        "type": f"urn:roster:problem:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "instance": "/users/",
        "code": code,
        "request_id": REQUEST_ID,
        **more,
    }


def fault(pointer: str, code: str, detail: str) -> Mapping[str, str]:
    return {"pointer": pointer, "code": code, "detail": detail}


TAKEN: Final = "Another one has this email."

EXAMPLES: Final[Mapping[int, Mapping[str, Example]]] = {
    400: {
        "A body": example(400, "malformed", "The body is not JSON: Expecting value at character 8."),
        "A filter": example(
            400, "malformed", "There is no such field to filter by. Fields are name, email, id.", position=0
        ),
        "A cursor": example(400, "malformed", "The cursor is not one of this list."),
    },
    401: {"No valid key": example(401, "unauthenticated", NO_KEY)},
    403: {"Another scope": example(403, "forbidden", "This needs the scope users:write.")},
    404: {"Never existed, or erased": example(404, "not_found", "There is no user with this id.")},
    408: {"Too slow": example(408, "too_slow", "The body took too long to arrive.")},
    409: {
        "Identifiers are taken": example(
            409, "conflict", TAKEN, errors=[{**fault("/body/email", "taken", TAKEN), "id": 7}]
        ),
        "In use": example(409, "in_use", "Something still refers to it: user 1."),
        "A broken reference": example(
            409, "broken_reference", "It refers to something that is not there, or something refers to it."
        ),
        "Under way": example(409, "in_flight", "A request with this idempotency key is under way. Ask again shortly."),
        "A sync": example(409, "too_many_deletions", TooManyDeletions(5, 9, Share(10, is_percent=True)).detail),
        "A cycle": example(409, "cycle", "The group would be a part of itself."),
        "The last key": example(409, "last_admin_key", "This is the last key that may administer keys."),
    },
    410: {
        "Deleted": example(410, "gone", "This user is deleted."),
        "Before a restore": example(410, "position_expired", PositionExpired(7).detail),
    },
    412: {"Another version": example(412, "stale", "It is not at the version that was asked for.")},
    413: {"Too large": example(413, "too_large", f"A body holds at most {MAX_BODY_BYTES} bytes.")},
    415: {"No JSON": example(415, "unsupported_media_type", "Send application/json.")},
    422: {
        "A body": example(
            422,
            "invalid",
            "Some values break the rules of the directory.",
            errors=[fault("/body/name", "too_short", "Must not be blank.")],
        ),
        "A parameter": example(
            422,
            "invalid",
            "Some values have the wrong form.",
            errors=[fault("/query/limti", "unknown", "There is no such parameter.")],
        ),
        "An idempotency key": example(
            422, "idempotency_key_reused", "This idempotency key was used for another request."
        ),
    },
    429: {
        "Wrong keys": example(429, "too_many_failures", "Too many wrong keys came from this address. Try again later.")
    },
    503: {
        "Busy": example(503, "busy", "The database is busy. Try again shortly."),
        "Away": example(503, "database_unreachable", Unreachable().detail),
        "Full": example(503, "no_space", NoSpace().detail),
        "Damaged": example(503, "database_damaged", Damaged().detail),
        "Removed": example(503, "files_removed", FilesRemoved().detail),
        "Uncertain": example(
            503,
            "uncertain",
            "The connection broke while committing. The change may have been stored or not.",
        ),
        "Not ready": example(503, "not_ready", "The server is about to stop."),
    },
}

OTHERS: Final[Mapping[str, Example]] = {
    "A wrong method": example(405, "method_not_allowed", DETAILS[405]),
    "A failure": example(500, "internal_error", "Something went wrong. The server's log has it under the request id."),
}

MEANINGS: Final[Mapping[int, str]] = {
    400: "The request cannot be read: the body is not JSON, the cursor is of another list, or the filter or sort is "
    "invalid, with an error at the character `position`.",
    401: "The key is missing or not valid. The answer does not say which of the two.",
    403: "The key lacks the scope that the detail names.",
    404: "It never existed, or it was erased.",
    408: f"The body took longer than {BODY_TIMEOUT_S} seconds to arrive.",
    409: (
        "One of these: Other entities have these identifiers. Then `errors` names each, with the `id` of the entity "
        "that has it, if the key may read it. Or another entity still refers to this one. Or a request with this "
        "idempotency key is still being processed. Or this is the last key that may administer keys."
    ),
    410: "It is deleted, and can be restored. In the feed: the position has expired, so begin again.",
    412: "It does not have a version that If-Match or If-None-Match allows.",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes.",
    415: "The media type of the body is not one of those listed here.",
    422: "Values have the wrong form or break a rule: `errors` lists them. Or the idempotency key was used for "
    "another request.",
    429: "Too many wrong keys came from this address. A valid key still works.",
    503: (
        "The server is busy, or its database cannot be reached, is full or is damaged: `code` says which. Try again "
        "after Retry-After seconds. Without that header, the connection to the database broke during a commit: "
        "first check whether the change was stored."
    ),
}


def header(description: str, schema: Mapping[str, Any], example: object) -> Mapping[str, Any]:
    return {"description": description, "schema": schema, "example": example}


TEXT: Final = {"type": "string"}
HEADERS: Final[Mapping[str, Any]] = {
    "X-Request-Id": header(
        "The id of this request in the server's log and in the changes that it made",
        {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        REQUEST_ID,
    ),
    "WWW-Authenticate": header("How to authenticate", TEXT, CHALLENGE),
    "Retry-After": header("The seconds after which to try again", {"type": "integer", "minimum": 1}, 1),
    "Allow": header("With a 405: every method of this path", TEXT, "GET, HEAD, POST"),
    "Accept": header("The media type to send", TEXT, "application/json"),
    "Accept-Patch": header("The same for a PATCH", TEXT, "application/merge-patch+json, application/json"),
}
SAID_WITH: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    415: ("Accept", "Accept-Patch"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

REQUEST_ID_PARAMETER: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": (
        "An id for this request: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`. It is in the answer, in the log and "
        "in the changes. An id of another form is replaced by a new one"
    ),
    "schema": {**TEXT, "examples": ["checkout-7f3a"]},
}

SECURITY_SCHEMES: Final = {
    SECURITY_SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "rk_<id>_<secret>",
        "description": (
            "An API key. Each operation lists the scopes that it needs. While there are no keys at all, a server "
            "that listens on loopback accepts calls from its own machine without a key."
        ),
    }
}

HEALTH: Final = "health"
WITH_BODY: Final = (408, 413)
WITH_DATABASE: Final = (503,)


def described(app: FastAPI) -> dict[str, Any]:
    """The document from the routes, completed by what all operations, parameters and answers share."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            webhooks=app.webhooks.routes,
            tags=app.openapi_tags,
        )
        document["components"] = components(document["components"]["schemas"])
        for item in document["paths"].values():
            for operation in item.values():
                complete(operation)
        for item in document["webhooks"].values():
            for operation in item.values():
                complete_message(operation)
        app.openapi_schema = document
    return app.openapi_schema


UNUSED: Final = {"HTTPValidationError", "ValidationError"}
"""Schemas of FastAPI's own 422, which no operation uses."""


def components(schemas: Mapping[str, Any]) -> dict[str, Any]:
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    responses = {name_of(status): refusal(status) for status in EXAMPLES}
    own = {name: schema for name, schema in schemas.items() if name not in UNUSED}
    return {
        "schemas": {**own, **problem.pop("$defs"), "Problem": problem},
        "responses": {**responses, name_of("default"): other_refusals()},
        "headers": HEADERS,
        "securitySchemes": SECURITY_SCHEMES,
    }


def reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def refusal(status: int) -> Mapping[str, Any]:
    return refusal_of(f"{title_of(status)}. {MEANINGS[status]}", EXAMPLES[status], *SAID_WITH.get(status, ()))


def other_refusals() -> Mapping[str, Any]:
    return refusal_of("Any other error.", OTHERS, "Allow")


def refusal_of(description: str, examples: Mapping[str, Example], *headers: str) -> Mapping[str, Any]:
    shown = {name: {"value": each} for name, each in examples.items()}
    return {
        "description": description,
        "headers": {name: reference("headers", name) for name in ("X-Request-Id", *headers)},
        "content": {MEDIA_TYPE: {"schema": reference("schemas", "Problem"), "examples": shown}},
    }


def complete(operation: dict[str, Any]) -> None:
    if HEALTH in operation["tags"]:
        operation["security"] = []
    responses = operation["responses"]
    for status in statuses_of_all_like(operation):
        responses.setdefault(str(status), reference("responses", name_of(status)))
    for status, response in responses.items():
        if "$ref" in response:  # FastAPI has added a description to the reference
            responses[status] = {"$ref": response["$ref"]}
        else:
            response["headers"] = {
                **response.get("headers", {}),
                "X-Request-Id": reference("headers", "X-Request-Id"),
            }
    for parameter in operation.get("parameters", ()):
        tidy(parameter)
    operation["parameters"] = [*operation.get("parameters", ()), REQUEST_ID_PARAMETER]


def complete_message(operation: dict[str, Any]) -> None:
    """Complete an operation of a receiver of webhooks. It has no key of this server, and its answers are its own."""
    operation["security"] = []
    del operation["responses"]["422"]  # FastAPI's own
    for parameter in operation["parameters"]:
        tidy(parameter)


def statuses_of_all_like(operation: Mapping[str, Any]) -> Iterator[int]:
    if "requestBody" in operation:
        yield from WITH_BODY
    if HEALTH not in operation["tags"]:
        yield from WITH_DATABASE


def tidy(parameter: dict[str, Any]) -> None:
    """Make an optional parameter not nullable, because a URL or a header cannot contain null.

    Its example stays in the schema. If the parameter itself had an example, /docs would fill it in, and so send dry
    runs and preconditions.
    """
    schema = parameter["schema"]
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del schema["anyOf"]
        schema.update(options[0])
    schema.pop("title", None)
    schema.pop("description", None)  # the parameter has the description

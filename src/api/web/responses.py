"""Parts of answers: the parameter `fields`, and headers."""

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json

from domain.idempotency import Committed
from domain.work import RequestContext

EVERY_FIELD: Final = "*"


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers, "application/json")


def fields_asked_for(fields: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a `fields` parameter. `*` means all known names."""
    if fields == EVERY_FIELD:
        return known
    names = tuple(name.strip(" ") for name in fields.split(","))
    if not set(names) <= set(known):
        detail = f"Fields are {', '.join(known)}, or * for all."
        raise RequestValidationError([{"type": "enum", "loc": ("query", "fields"), "msg": detail}])
    return names


def fields_query(known: tuple[str, ...], example: str) -> Any:
    """The parameter `fields`. `fields_asked_for` reads it."""
    field = f" *({'|'.join(known)}) *"
    return Query(
        description=f"The fields to show: `*` for all, or some of {', '.join(known)}. Fields without a value are null",
        examples=[example],
        json_schema_extra={"pattern": rf"^(\*|{field}(,{field})*)$"},
    )


def link_to_next(request: Request, **changed: object) -> dict[str, str]:
    """A Link header (RFC 8288) to the same list with some changed parameters, relative to this host."""
    query = urlencode({**request.query_params, **changed})
    path = quote(request.scope.get("root_path", "") + request.scope["path"])
    return {"Link": f'<{path}?{query}>; rel="next"'}


HEADERS: Final[Mapping[str, tuple[Mapping[str, Any], object]]] = {
    "Dry-Run": ({"type": "string", "const": "true"}, "true"),
    "ETag": ({"type": "string", "pattern": '^"[1-9][0-9]*"$'}, '"1"'),
    "Idempotency-Replayed": ({"type": "string", "const": "true"}, "true"),
    "Last-Modified": ({"type": "string", "pattern": " GMT$"}, "Wed, 01 Jul 2026 12:00:00 GMT"),
    "Link": ({"type": "string", "pattern": '; rel="next"$'}, '</users/?cursor=Sv0eJYEPsk7HWzE>; rel="next"'),
    "Location": ({"type": "string", "pattern": "/[1-9][0-9]*$"}, "/users/1"),
    "Roster-Seq": ({"type": "integer", "minimum": 0}, 1),
    "Vary": ({"type": "string"}, "Accept"),
    "X-Total-Count": ({"type": "integer", "minimum": 0}, 2),
}
"""The headers of answers: the schema and an example of each."""


def documented_headers(**headers: str) -> dict[str, Any]:
    """Headers for the `responses` of a route. An underscore stands for a hyphen."""
    return {"headers": {name.replace("_", "-"): documented_header(name, text) for name, text in headers.items()}}


def documented_header(name: str, text: str) -> Mapping[str, Any]:
    schema, example = HEADERS[name.replace("_", "-")]
    return {"description": text, "schema": schema, "example": example}


class Service(Protocol):
    @property
    def context(self) -> RequestContext: ...


def written(service: Service, committed: Committed[Any]) -> dict[str, str]:
    """The headers of a write, which say what it stored."""
    if service.context.dry_run:
        return {"Dry-Run": "true"}
    return {} if committed.seq is None else {"Roster-Seq": str(committed.seq)}

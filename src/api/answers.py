"""What answers are made of: fields that were asked for, and headers that say where to go on."""

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json

from domain.work import Occasion

EVERY_FIELD: Final = "*"


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers, "application/json")


def fields_asked_for(fields: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a `fields` parameter, all of the known ones for `*`."""
    if fields == EVERY_FIELD:
        return known
    names = tuple(name.strip() for name in fields.split(","))
    if not set(names) <= set(known):
        detail = f"Fields are {', '.join(known)}; or * for all."
        raise RequestValidationError([{"type": "enum", "loc": ("query", "fields"), "msg": detail}])
    return names


def link_to_next(request: Request, **changed: object) -> dict[str, str]:
    """A Link header (RFC 8288) to the same list with some parameters changed, relative to this host."""
    query = urlencode({**request.query_params, **changed})
    path = quote(request.scope.get("root_path", "") + request.scope["path"])
    return {"Link": f'<{path}?{query}>; rel="next"'}


def documented_headers(**headers: str) -> dict[str, Any]:
    """Headers as a route's `responses` declare them; an underscore stands for a hyphen."""
    return {
        "headers": {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    }


class Service(Protocol):
    @property
    def occasion(self) -> Occasion: ...


def written(service: Service) -> dict[str, str]:
    """What a write says in its headers of what it stored."""
    if service.occasion.dry_run:
        return {"Dry-Run": "true"}
    return {} if service.occasion.seq is None else {"Roster-Seq": str(service.occasion.seq)}

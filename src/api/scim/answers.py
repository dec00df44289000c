"""Answers: SCIM's media type, entity tags and URLs. No header contains a value that a client sent."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final, Protocol

from fastapi import Response
from pydantic_core import to_json

from api.scim.errors import error_body
from api.scim.schemas.resources import MESSAGE, ResourceType

MEDIA_TYPE: Final = "application/scim+json"
LIST: Final = f"{MESSAGE}ListResponse"


class Versioned(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, MEDIA_TYPE)


def error(status: int, detail: str, scim_type: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    return answer(error_body(status, detail, scim_type), status, headers)


def tag_of(version: object) -> str:
    """A weak entity tag, because the same version may be shown with different attributes."""
    return f'W/"{version}"'


def time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def meta(type_: ResourceType, base: str, entity: Versioned, version: object) -> dict[str, str]:
    return {
        "resourceType": type_.name,
        "created": time(entity.created_at),
        "lastModified": time(entity.updated_at),
        "location": location(type_, base, entity.id),
        "version": tag_of(version),
    }


def location(type_: ResourceType, base: str, id: int | str) -> str:
    return f"{base}{type_.endpoint}/{id}"


def validators(entity: Versioned, version: object) -> dict[str, str]:
    return {"ETag": tag_of(version), "Last-Modified": format_datetime(entity.updated_at, usegmt=True)}


def listed(resources: list[Any], total: int, **more: Any) -> dict[str, Any]:
    body = {"schemas": [LIST], "totalResults": total, "itemsPerPage": len(resources), **more}
    return {**body, "Resources": resources}

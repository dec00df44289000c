"""Answers that show an entity: its fields in the body, its version and time in headers, and how routes declare
these."""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from fastapi import Request, Response

from api.web.conditions import tag_of, unwanted_by
from api.web.responses import Service, documented_headers, fields_asked_for, fields_query, json_answer, written
from domain.entities import profile_of
from domain.idempotency import Committed
from domain.lists.projections import Projection


class Versioned(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def updated_at(self) -> datetime: ...


E = TypeVar("E", bound=Versioned)
Body = Mapping[str, Any]
Show = Callable[[E], Body]

VERSION: Final = {"ETag": "The version, as a strong entity tag", "Last_Modified": "When it last changed"}
WRITE: Final = {
    "Roster_Seq": "The sequence number of the change that was written. It is missing if nothing was written",
    "Dry_Run": "true, if nothing was stored because of dry_run",
}
REPLAYED: Final = {"Idempotency_Replayed": "true, if this is the stored answer of the idempotency key"}

SEEN: Final = {
    "Roster_Seq": (
        "If the server reads from replicas: the answer shows all changes up to this number, and perhaps later ones"
    )
}
ONE: Final = documented_headers(**VERSION, **SEEN)
WRITTEN: Final = documented_headers(**VERSION, **WRITE)
WRITTEN_ONCE: Final = documented_headers(**VERSION, **WRITE, **REPLAYED)
GONE: Final = documented_headers(**WRITE)
UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "The client has this version already", **ONE}}


def created_at(noun: str, **more: str) -> dict[str, Any]:
    """How a route declares the headers of a 201."""
    return documented_headers(Location=f"Where the {noun} is", **VERSION, **WRITE, **more)


def links(**operations: str) -> dict[str, Any]:
    """OpenAPI's links: operations that a client can call next with values of the body, each with a description."""
    parameters = {"id": "$response.body#/id"}
    return {
        "links": {
            name: {"operationId": name, "parameters": parameters, "description": description}
            for name, description in operations.items()
        }
    }


class Shown(Generic[E]):
    """How entities of one kind are shown: the names of all fields, and the fields that a body has by default.

    Without `default` these are the id, the fields of the profile, and the time since which the entity is hidden. Those
    that have their default value are left out.
    """

    def __init__(self, entity: type[E], names: tuple[str, ...], default: tuple[str, ...] | None = None) -> None:
        self.names = names
        self.query = fields_query(names, ",".join(names[:2]))
        """The declaration of the parameter `fields` of a route: `Annotated[str | None, SHOWN.query]`."""

        kind: Any = entity
        known = [name for name in profile_of(kind.created_from) if name in names]
        self._entity = entity
        self._default = Projection(entity, default or (*filter(None, ["id", *known, kind.hidden_since]),), sparse=True)

    def by(self, fields: str | None) -> Projection[E]:
        """The fields to show. Call it before any write, so that an invalid `fields` parameter changes nothing."""
        if fields is None:
            return self._default
        return Projection(self._entity, tuple(dict.fromkeys(fields_asked_for(fields, self.names))))


def validators(entity: Versioned) -> dict[str, str]:
    return {"ETag": tag_of(entity.version), "Last-Modified": format_datetime(entity.updated_at, usegmt=True)}


def one(service: Service, entity: E, show: Show[E], if_none_match: str | None) -> Response:
    """The answer to a GET; a 304 if the client has this version already."""
    headers = validators(entity)
    if (seq := service.context.seen) is not None:
        headers["Roster-Seq"] = str(seq)
    if entity.version in unwanted_by(if_none_match):
        return Response(status_code=304, headers=headers)
    return json_answer(show(entity), headers=headers)


def changed(service: Service, committed: Committed[E], show: Show[E]) -> Response:
    """The answer to a write that changed an entity."""
    return json_answer(show(committed.result), headers={**validators(committed.result), **written(service, committed)})


def created(request: Request, service: Service, committed: Committed[E], show: Show[E], path: str) -> Response:
    """The answer to a write that created an entity in the collection at this path."""
    entity = committed.result
    location = f"{request.scope.get('root_path', '')}{path}/{entity.id}"
    headers = {**validators(entity), **written(service, committed), "Location": location}
    return json_answer(show(entity), 201, headers)


def put(request: Request, service: Service, committed: Committed[tuple[E, bool]], show: Show[E], path: str) -> Response:
    """The answer to a PUT in the collection at this path. The result says whether the entity is new."""
    entity, is_new = committed.result
    done = Committed(entity, committed.seq)
    return created(request, service, done, show, path) if is_new else changed(service, done, show)


PENDING: Final = {
    "description": (
        "Erased. The values may still be in the database's files, because a stream or another reader uses an older "
        "state, or others write all the time. The server removes them as soon as it can. In a SQLite file above 48 MiB "
        "copies may stay until `roster db vacuum` is run"
    ),
    **documented_headers(**WRITE),
}


def gone(service: Service, committed: Committed[Any]) -> Response:
    """The answer to a deletion. It is a 202 while erased values may still be in the database's files."""
    return Response(status_code=202 if committed.is_pending else 204, headers=written(service, committed))

"""/Bulk: many writes in one request (RFC 7644, section 3.7).

Each operation is a separate request in a separate unit of work. If an operation refers to a resource that another one
creates (`bulkId:x`), it waits for that one. If several wait for each other, one is created without its references,
which are added afterwards.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response

from api.scim.answers import answer
from api.scim.calls import Actions, BulkOperation, Call
from api.scim.discovery import MAX_BULK
from api.scim.errors import Refused, error_of, invalid_syntax, invalid_value, status_of
from api.scim.lists import number_in
from api.scim.resources import groups, users
from api.scim.schemas.resources import MESSAGE
from api.scim.values import object_of, require_schemas
from domain.errors import NotFound, Refusal

BULK_REQUEST: Final = f"{MESSAGE}BulkRequest"
BULK_RESPONSE: Final = f"{MESSAGE}BulkResponse"
BULK_ID: Final = "bulkId:"
METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")

ENDPOINTS: Final[Mapping[str, tuple[Actions, Actions]]] = {
    "users": (users.COLLECTION, users.ONE),
    "groups": (groups.COLLECTION, groups.ONE),
}
"""The actions on the collection of an endpoint, and on one resource."""


@dataclass(slots=True)
class Operation:
    """One operation, and its result after it was carried out."""

    method: str
    path: str
    bulk_id: str | None
    version: str | None
    data: Any
    result: dict[str, Any] | None = None

    @classmethod
    def of(cls, given: object, *, strict: bool) -> "Operation":
        members = {name.lower(): value for name, value in object_of(given).items()}
        method, path = members.get("method"), members.get("path")
        if not isinstance(method, str) or (method if strict else method.upper()) not in METHODS:
            raise invalid_syntax("The method of an operation is POST, PUT, PATCH or DELETE.")
        if not isinstance(path, str):
            raise invalid_syntax("An operation needs a path.")
        bulk_id, version = members.get("bulkid"), members.get("version")
        return cls(
            method.upper(),
            path,
            bulk_id if isinstance(bulk_id, str) else None,
            version if isinstance(version, str) else None,
            members.get("data"),
        )

    @property
    def references(self) -> set[str]:
        """The bulkIds that it refers to."""
        return {*references_in(self.path.rpartition("/")[2]), *references_in(self.data)}


def references_in(value: Any) -> Iterator[str]:
    match value:
        case str() if value.startswith(BULK_ID):
            yield value.removeprefix(BULK_ID)
        case Mapping():
            for member in value.values():
                yield from references_in(member)
        case list():
            for each in value:
                yield from references_in(each)


def resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """The value with references to created resources replaced by their ids."""
    match value:
        case str() if value.startswith(BULK_ID):
            return ids.get(value.removeprefix(BULK_ID), value)
        case Mapping():
            return {name: resolved(member, ids) for name, member in value.items()}
        case list():
            return [resolved(each, ids) for each in value]
    return value


def without_references(value: Any) -> Any:
    """The value without references to resources that do not exist yet."""
    match value:
        case Mapping():
            return {name: without_references(member) for name, member in value.items() if not is_reference(member)}
        case list():
            return [each for each in value if not any(references_in(each))]
    return value


def is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(BULK_ID)


@dataclass(slots=True)
class Bulk:
    """A bulk request under way."""

    call: Call
    operations: Sequence[Operation]
    limit: int | None
    """How many errors end it."""

    ids: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    errors: int = 0

    async def run(self) -> None:
        promised = {each.bulk_id for each in self.operations if each.method == "POST" and each.bulk_id}
        waiting = list(self.operations)
        while waiting and not self.is_over:
            now = next((each for each in waiting if not self._waits(each, promised)), None)
            if now is None:
                now = waiting[0]
                waiting.remove(now)
                await self._without_references(now, waiting, promised)
            else:
                waiting.remove(now)
                await self._run(now)

    @property
    def is_over(self) -> bool:
        return self.limit is not None and self.errors >= self.limit

    def _waits(self, operation: Operation, promised: set[str]) -> bool:
        """Whether it refers to a resource that is not created yet."""
        return bool((operation.references & promised) - self.ids.keys() - self.failed - {operation.bulk_id})

    async def _run(self, operation: Operation) -> None:
        if missing := operation.references - self.ids.keys():
            gone = missing & self.failed
            refusal = conflict() if gone else invalid_value("There is no operation with that bulkId.")
            self._fail(operation, refusal, location=None if operation.method == "POST" else operation.path)
            return
        endpoint, slash, id = operation.path.rpartition("/")
        path = f"{endpoint}{slash}{resolved(id, self.ids)}"
        await self._try(operation, path, resolved(operation.data, self.ids))

    async def _without_references(self, first: Operation, waiting: list[Operation], promised: set[str]) -> None:
        """Carry out the first of several operations that wait for each other, then the others, then add its
        references."""
        await self._try(first, first.path, without_references(resolved(first.data, self.ids)))
        rest = [each for each in waiting if first.bulk_id in each.references]
        while first.bulk_id in self.ids and (now := next((e for e in rest if not self._waits(e, promised)), None)):
            rest.remove(now)
            waiting.remove(now)
            await self._run(now)
        if first.bulk_id in self.ids and first.bulk_id is not None:
            await self._complete(first, self.ids[first.bulk_id])

    async def _complete(self, operation: Operation, id: str) -> None:
        path = f"{operation.path.rstrip('/')}/{id}"
        later = {name: resolved(value, self.ids) for name, value in operation.data.items() if any(references_in(value))}
        try:
            if any(references_in(later)):
                raise conflict()
            await self._act("PATCH", path, {"Operations": [{"op": "add", "value": later}]}, None)
        except Refusal as refusal:
            await self._act("DELETE", path, None, None)  # it must not exist without its references
            self._fail(operation, conflict() if status_of(refusal) < HTTPStatus.CONFLICT else refusal)

    async def _try(self, operation: Operation, path: str, data: Any) -> None:
        try:
            done = await self._act(operation.method, path, data, operation.version)
        except Refusal as refusal:
            self._fail(operation, refusal, location=None if operation.method == "POST" else path)
            return
        location = done.headers.get("location") or f"{self.call.base}/{path.strip('/')}"
        operation.result = {**head_of(operation), "location": location, "status": str(int(done.status_code))}
        if "etag" in done.headers:
            operation.result["version"] = done.headers["etag"]
        if operation.bulk_id is not None and operation.method == "POST":
            self.ids[operation.bulk_id] = location.rpartition("/")[2]

    async def _act(self, method: str, path: str, data: Any, version: str | None) -> Response:
        endpoint, _, id = path.strip("/").partition("/")
        if endpoint.lower() not in ENDPOINTS:
            raise NotFound("There is nothing at this path.")
        action = ENDPOINTS[endpoint.lower()][bool(id)].get(method)
        if action is None:
            raise Refused("This path does not support that method.", status=HTTPStatus.METHOD_NOT_ALLOWED)
        return await action.handle(self.call.for_part(BulkOperation(id, data, version)))

    def _fail(self, operation: Operation, refusal: Refusal, location: str | None = None) -> None:
        self.errors += 1
        if operation.bulk_id is not None:
            self.failed.add(operation.bulk_id)
            self.ids.pop(operation.bulk_id, None)
        where = {} if location is None else {"location": f"{self.call.base}/{location.strip('/')}"}
        status = str(status_of(refusal))
        operation.result = {**head_of(operation), **where, "status": status, "response": error_of(refusal)}


def conflict() -> Refused:
    return Refused("What it refers to was not created.", status=HTTPStatus.CONFLICT)


def head_of(operation: Operation) -> dict[str, Any]:
    named = {} if operation.bulk_id is None else {"bulkId": operation.bulk_id}
    return {"method": operation.method, **named}


def require_different_ids(operations: Sequence[Operation], *, strict: bool) -> None:
    """A bulkId must be unique within a request (RFC 7644, section 3.7). Unless `strict`, duplicates without references
    are accepted."""
    ids = Counter(each.bulk_id for each in operations if each.method == "POST" and each.bulk_id is not None)
    twice = {id for id, times in ids.items() if times > 1}
    if twice and (strict or any(twice & each.references for each in operations)):
        raise invalid_syntax("Each bulkId is given to one operation only.")
    if strict and any(each.method == "POST" and each.bulk_id is None for each in operations):
        raise invalid_syntax("A POST needs a bulkId.")


async def bulk(call: Call) -> Response:
    members = {name.lower(): value for name, value in object_of(await call.body()).items()}
    if call.strict:
        require_schemas(members, BULK_REQUEST)
    given = members.get("operations")
    if not isinstance(given, list) or not given:
        raise invalid_syntax("Operations must be an array of at least one operation.")
    if len(given) > MAX_BULK:
        raise Refused(f"A bulk request has at most {MAX_BULK} operations.", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    limit = number_in(members, "failOnErrors", 0)
    operations = [Operation.of(each, strict=call.strict) for each in given]
    require_different_ids(operations, strict=call.strict)
    job = Bulk(call, operations, limit if limit > 0 else None)
    await job.run()
    results = [each.result for each in job.operations if each.result is not None]
    return answer({"schemas": [BULK_RESPONSE], "Operations": results})

"""Many operations on users in one request."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.web.bodies import EntityId
from api.web.conditions import expected_by, tag_of
from api.web.dependencies import WritingService
from api.web.entities import REPLAYED, WRITE
from api.web.idempotency import IdempotencyKeyHeader, answer_idempotently
from api.web.problems import STATUS, ProblemError, documented
from api.web.responses import documented_headers, json_answer, written
from api.web.routing import Router, calls
from domain.batches import MOST, OperationDone, Taken, UserOperation, Verb
from domain.errors import Conflict, Fault, Invalid, Refusal
from domain.idempotency import Committed
from domain.stores import Identifier, Who
from domain.values import MAX_ID
from services.batches import BatchDone, BatchService

router = Router("/users", "users")

Batches = Annotated[BatchService, Depends(WritingService(lambda container: container.batches))]

WITHHELD: Final = 424
"""The status of a valid operation if another one of an atomic batch was refused (Failed Dependency, RFC 4918, section
11.4)."""

BY_ID: Final[dict[str, Any]] = {"op": "patch", "id": 1, "if_match": '"1"', "body": {"name": "Alicia"}}
BY_KEY: Final[dict[str, Any]] = {"op": "put", "external_id": "hr-2", "body": {"name": "Bob"}}
NEW: Final[dict[str, Any]] = {"op": "create", "body": {"name": "Carol"}}


class OperationIn(BaseModel):
    """One operation. `create` names no user, `put` names an external id, the others an id or an external id."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [NEW, BY_ID, BY_KEY]})

    op: Annotated[Verb, Field(description="What to do")]
    id: Annotated[EntityId | None, Field(description="The user's id")] = None
    external_id: Annotated[str | None, Field(description="The user's external id", min_length=1, max_length=255)] = None
    if_match: Annotated[
        str | None, Field(description="Only if the version is one of these entity tags", max_length=1000)
    ] = None
    body: Annotated[dict[str, Any] | None, Field(description="The body of the single request. A `delete` has none")] = (
        None
    )

    def operation(self, pointer: str) -> UserOperation:
        """Raises `Invalid`."""
        named = [each for each in (self.id, self.external_id) if each is not None]
        if len(named) != (0 if self.op is Verb.CREATE else 1) or (self.op is Verb.PUT and self.external_id is None):
            raise Invalid([Fault(pointer, "not_allowed", "Names the wrong number of users, or by a wrong identifier.")])
        if (self.body is None) is not (self.op is Verb.DELETE):
            raise Invalid([Fault(f"{pointer}/body", "not_allowed", "Belongs to every operation but a delete.")])
        who: Who | None = self.id if self.external_id is None else Identifier("external_id", self.external_id)
        return UserOperation(verb=self.op, who=who, body=self.body or {}, expected=expected_by(self.if_match))


class BatchIn(BaseModel):
    """Operations that are carried out together. At most one of them can name the same user."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"atomic": True, "operations": [NEW, BY_ID, BY_KEY]}]}
    )

    atomic: Annotated[bool, Field(strict=True, description="All of them or none", examples=[True])] = False
    operations: Annotated[
        list[OperationIn], Field(description="What to do, in any order", min_length=1, max_length=MOST)
    ]


class ResultOut(BaseModel):
    """The result of one operation. `status` is that of the single request, or 424 if it was valid but not stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": 201, "id": 3, "etag": '"1"'}]})

    status: Annotated[int, Field(description="The status of the single request", ge=200, le=599, examples=[201])]
    id: Annotated[int | None, Field(description="The user's id", ge=1, le=MAX_ID, examples=[3])] = None
    etag: Annotated[str | None, Field(description="Its version, as an entity tag", examples=['"1"'])] = None
    code: Annotated[str | None, Field(description="Why it was refused, for programs", examples=["taken"])] = None
    detail: Annotated[str | None, Field(description="Why it was refused, for people")] = None
    errors: Annotated[list[ProblemError] | None, Field(description="Which values were refused, and why")] = None


class BatchOut(BaseModel):
    """A result for each operation, in their order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"results": [{"status": 201, "id": 3, "etag": '"1"'}, {"status": 424}]}]}
    )

    results: Annotated[list[ResultOut], Field(description="The result of each operation")]


@router.post(
    "/batch",
    response_model=BatchOut,
    responses={200: documented_headers(**WRITE, **REPLAYED), **documented(400, 409, 415, 422)},
)
@calls(BatchService.carry_out)
async def change_users(
    *, request: Request, batches: Batches, body: BatchIn, idempotency_key: IdempotencyKeyHeader = None
) -> Response:
    """Carry out up to 1,000 operations on users in one transaction. This is much faster than one request for each.

    A refused operation has a status of 400 or more in its result, and the others are stored. With `atomic`, nothing is
    stored if one operation is refused. The operations do not see each other's effects: a unique value cannot move from
    one user to another.
    """
    operations = [each.operation(f"/operations/{number}") for number, each in enumerate(body.operations)]

    def answer(committed: Committed[BatchDone]) -> Response:
        results = [result_of(each, done) for each, done in zip(operations, committed.result.done, strict=True)]
        return json_answer({"results": results}, headers=written(batches, committed))

    return await answer_idempotently(
        request, idempotency_key, batches, lambda: batches.carry_out(operations, atomic=body.atomic), answer
    )


def result_of(operation: UserOperation, done: OperationDone) -> dict[str, Any]:
    if done.refusal is not None:
        return refused(done.refusal)
    if done.user is None:
        return {"status": WITHHELD}
    if operation.verb is Verb.DELETE:
        return {"status": 204, "id": done.user.id}
    return {"status": 201 if done.is_new else 200, "id": done.user.id, "etag": tag_of(done.user.version)}


def refused(refusal: Refusal) -> dict[str, Any]:
    faults = refusal.faults if isinstance(refusal, Invalid) else ()
    errors = [{"pointer": f"/body{each.pointer}", "code": each.code, "detail": each.detail} for each in faults]
    status = STATUS[Conflict if isinstance(refusal, Taken) else type(refusal)]
    said = {"status": status, "code": refusal.code, "detail": refusal.detail}
    return {**said, "errors": errors} if errors else said

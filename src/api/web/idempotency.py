"""Idempotency keys over HTTP: an answer as text and back, and a request's fingerprint."""

import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import Header, Request, Response

from domain.changes import Entity
from domain.idempotency import AlreadyDone, IdempotencyKey
from domain.work import RequestContext

E = TypeVar("E", bound=Entity)

REPLAYED: Final = "Idempotency-Replayed"

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        description="Do this only once: asked again with the same key within 24 hours, the answer is the same",
        min_length=8,
        max_length=255,
        pattern=r"^[\x21-\x7e]*$",
        examples=["6b1f4a52-create-alice"],
    ),
]


class Service(Protocol):
    @property
    def context(self) -> RequestContext: ...


async def answer_idempotently(
    request: Request,
    key: str | None,
    service: Service,
    act: Callable[[], Awaitable[E]],
    answer: Callable[[E], Response],
) -> Response:
    """Do something and answer it; or, if the key was used for it before, give the answer of that time again."""
    if key is not None:
        service.context.idempotency_key = IdempotencyKey(
            key, await fingerprint_of(request), writer_of(answer, service.context)
        )
    try:
        return answer(await act())
    except AlreadyDone as done:
        return read_answer(done.answer)


async def fingerprint_of(request: Request) -> str:
    path = request.scope["path"].rstrip("/")  # either spelling of a collection is the same request
    asked = (request.method, path, request.scope["query_string"].decode("latin-1"))
    return sha256("\n".join(asked).encode() + b"\n" + await request.body()).hexdigest()


def writer_of(answer: Callable[[E], Response], context: RequestContext) -> Callable[[Any, int], str]:
    """How a unit of work writes the answer down before it commits."""

    def write(entity: E, seq: int) -> str:
        context.seq = seq
        given = answer(entity)
        headers = {name: value for name, value in given.headers.items() if name != "content-length"}
        return json.dumps({"status": given.status_code, "headers": headers, "body": bytes(given.body).decode()})

    return write


def read_answer(text: str) -> Response:
    kept = json.loads(text)
    return Response(kept["body"], kept["status"], {**kept["headers"], REPLAYED: "true"})

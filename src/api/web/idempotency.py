"""Idempotency keys over HTTP: storing an answer as text, sending it again, and the fingerprint of a request."""

import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated, Final, TypeVar

from fastapi import Header, Request, Response

from api.web.entities import Show, Versioned, created
from api.web.responses import Service
from domain.idempotency import AlreadyDone, Committed, IdempotencyKey

T = TypeVar("T")
E = TypeVar("E", bound=Versioned)

REPLAYED: Final = "Idempotency-Replayed"

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        description=(
            "The request is carried out only once: the same request with the same key within 24 hours gets the same "
            "answer"
        ),
        min_length=8,
        max_length=255,
        pattern=r"^[\x21-\x7e]*$",
        examples=["6b1f4a52-create-alice"],
    ),
]


async def answer_idempotently(
    request: Request,
    key: str | None,
    service: Service,
    act: Callable[[], Awaitable[Committed[T]]],
    answer: Callable[[Committed[T]], Response],
) -> Response:
    """Carry out a request and answer it. If it was carried out before with this key, send the stored answer."""
    if key is not None:
        fingerprint = await fingerprint_of(request)
        service.context.idempotency_key = IdempotencyKey(key, fingerprint, lambda done: as_text(answer(done)))
    try:
        return answer(await act())
    except AlreadyDone as done:
        return read_answer(done.answer)


async def answer_creation(
    request: Request,
    key: str | None,
    service: Service,
    create: Callable[[], Awaitable[Committed[E]]],
    show: Show[E],
) -> Response:
    """The same for a request that creates an entity in the collection at its path."""
    path = request.scope["path"].rstrip("/")
    return await answer_idempotently(
        request, key, service, create, lambda committed: created(request, service, committed, show, path)
    )


async def fingerprint_of(request: Request) -> str:
    path = request.scope["path"].rstrip("/")  # with or without the slash, it is the same request
    asked = (request.method, path, request.scope["query_string"].decode("latin-1"))
    return sha256("\n".join(asked).encode() + b"\n" + await request.body()).hexdigest()


def as_text(answer: Response) -> str:
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return json.dumps({"status": answer.status_code, "headers": headers, "body": bytes(answer.body).decode()})


def read_answer(text: str) -> Response:
    kept = json.loads(text)
    return Response(kept["body"], kept["status"], {**kept["headers"], REPLAYED: "true"})

"""Deliveries of webhooks over HTTP: bodies and routes."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.web.dependencies import Service, WritingService
from api.web.lists import listed, position_in
from api.web.parameters import Cursor, Limit
from api.web.problems import documented
from api.web.requests import PlainInteger
from api.web.responses import json_answer, written
from api.web.routing import Router, calls
from api.webhooks import WebhookId
from domain.delivery.deliveries import BY_CHANGE, MAX_ANSWER, Answer, Delivery, DeliveryState
from domain.lists.pages import DEFAULT_LIMIT
from domain.values import MAX_ID
from services.delivery.deliveries import DeliveryService

router = Router("/webhooks/{id}", "webhooks")

Deliveries = Annotated[DeliveryService, Depends(Service(lambda container: container.deliveries))]
DeliveriesToWrite = Annotated[DeliveryService, Depends(WritingService(lambda container: container.deliveries))]

Status = Annotated[int | None, Field(description="The status of the answer; null if there was none", examples=[200])]
Error = Annotated[str | None, Field(description="Why there was no answer")]
Milliseconds = Annotated[int | None, Field(description="How long the attempt took", ge=0, examples=[12])]
AnswerText = Annotated[str | None, Field(description=f"The first {MAX_ANSWER} bytes of the answer")]


class DeliveryOut(BaseModel):
    """The delivery of a change to a webhook, in the state after its last attempt."""

    change: Annotated[int, Field(description="The sequence number of the change", ge=1, examples=[7])]
    type: Annotated[str, Field(description="The type of its message", examples=["user.updated"])]
    entity_id: Annotated[int, Field(description="The id of what was changed", ge=1, examples=[1])]
    state: Annotated[
        DeliveryState,
        Field(
            description=(
                "`retrying`: it will be tried again, and later changes of the same entity wait. `asked`: somebody "
                "asked to send it now. `set_aside`: it was refused for three days, and later changes were sent"
            )
        ),
    ]
    attempts: Annotated[int, Field(description="How often it was tried", ge=0, examples=[1])]
    at: Annotated[datetime | None, Field(description="When it was tried last")]
    status: Status
    error: Error
    milliseconds: Milliseconds
    answer: AnswerText
    next_at: Annotated[datetime | None, Field(description="When it will be tried next; null if it will not")]


class TestOut(BaseModel):
    """The answer of the receiver to a test message."""

    status: Status
    error: Error
    milliseconds: Milliseconds
    answer: AnswerText


NAMES: Final = tuple(DeliveryOut.model_fields)

Seq = Annotated[
    int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The sequence number of a change", examples=[7])
]
InState = Annotated[DeliveryState | None, Query(description="Only deliveries in this state", examples=["set_aside"])]


@router.get("/deliveries/", response_model=list[DeliveryOut], responses=documented(400, 404, 422))
@calls(DeliveryService.list)
async def list_deliveries(
    *,
    request: Request,
    deliveries: Deliveries,
    id: WebhookId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    state: InState = None,
) -> Response:
    """The deliveries of a webhook, the newest change first. They are kept for 30 days, about a thousand of each
    outcome."""
    after = position_in(request, deliveries, cursor, BY_CHANGE)
    page = await deliveries.list(id, state=state, after=after, limit=limit)
    return listed(request, deliveries, page, shown, BY_CHANGE)


@router.post("/deliveries/{change}/retry", status_code=202, response_model=DeliveryOut, responses=documented(404, 422))
@calls(DeliveryService.send_again)
async def retry_delivery(deliveries: DeliveriesToWrite, id: WebhookId, change: Seq) -> Response:
    """Send a change again within some seconds, whether it waits, was set aside, or was delivered."""
    committed = await deliveries.send_again(id, change)
    return json_answer(shown(committed.result), 202, written(deliveries, committed))


@router.post("/test", response_model=TestOut, responses=documented(404, 422))
@calls(DeliveryService.test)
async def test_webhook(deliveries: DeliveriesToWrite, id: WebhookId) -> Response:
    """Send a message of the type `webhook.test` now, and show the answer of the receiver.

    Nothing is stored, so a dry run does the same.
    """
    answer = await deliveries.test(id)
    return json_answer(outcome(answer), headers={"Dry-Run": "true"} if deliveries.context.dry_run else None)


def shown(delivery: Delivery) -> dict[str, Any]:
    typed = {"type": f"{delivery.kind}.{delivery.action}"}
    return {name: typed[name] if name in typed else getattr(delivery, name) for name in NAMES}


def outcome(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "error": answer.error,
        "milliseconds": answer.milliseconds,
        "answer": answer.beginning,
    }

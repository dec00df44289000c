"""The messages that are posted to webhooks, for `openapi.json`."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from api.changes import ChangeOut
from domain.changes import Action

EXAMPLE: Final[dict[str, Any]] = {
    "type": "user.created",
    "timestamp": "2026-07-01T12:00:00Z",
    "data": {
        "seq": 1,
        "kind": "user",
        "entity_id": 1,
        "version": 1,
        "action": "created",
        "actor": "key:1",
        "request_id": "8d1f5a0c6b7e4f0d9a3c2b1e0f9d8c7b",
        "at": "2026-07-01T12:00:00Z",
        "before": None,
        "after": {"name": "Alice", "status": "active", "attributes": {}},
        "subjects": [{"kind": "user", "id": 1}],
    },
}


class ChangeMessage(BaseModel):
    """A change, in the envelope of Standard Webhooks."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    type: Annotated[
        str,
        Field(
            description="The kind of the changed entity, and the action",
            examples=["user.created"],
            pattern=rf"^[a-z_]+\.({'|'.join(Action)})$",
        ),
    ]
    timestamp: Annotated[datetime, Field(description="When it was done, RFC 3339 in UTC")]
    data: Annotated[ChangeOut, Field(description="The change, exactly as `/changes/` shows it")]


class Tested(BaseModel):
    """The tested webhook."""

    webhook_id: Annotated[int, Field(description="The webhook that is tested", ge=1, examples=[1])]


class TestMessage(BaseModel):
    """A test message, which is not about a change."""

    type: Annotated[Literal["webhook.test"], Field(description="Always this")]
    timestamp: Annotated[datetime, Field(description="When it was asked for, RFC 3339 in UTC")]
    data: Annotated[Tested, Field(description="What it is about")]


Id = Annotated[str, Header(alias="webhook-id", description="The same in each attempt to send this message")]
Timestamp = Annotated[int, Header(alias="webhook-timestamp", description="When this attempt was made, in Unix seconds")]
Signature = Annotated[
    str,
    Header(
        alias="webhook-signature",
        description=(
            "`v1,` and the HMAC-SHA256 of id, timestamp and body, in base64. Two of these, separated by a space, "
            "while a webhook has two secrets"
        ),
    ),
]
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    204: {"description": "The message was accepted. Any other 2xx means the same"},
    410: {"description": "No more messages are wanted: the webhook is disabled"},
}

messages: Final = APIRouter()


@messages.post("change", status_code=204, responses=ANSWERS, operation_id="receive_change", tags=["webhooks"])
def receive_change(id: Id, timestamp: Timestamp, signature: Signature, body: ChangeMessage) -> None:
    """A change that matches the filter of a webhook: user.created, user.updated and so on."""


@messages.post("webhook.test", status_code=204, responses=ANSWERS, operation_id="receive_test", tags=["webhooks"])
def receive_test(id: Id, timestamp: Timestamp, signature: Signature, body: TestMessage) -> None:
    """The message that `POST /webhooks/{id}/test` sends."""

"""Webhooks over HTTP: bodies and routes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.web.bodies import patch_body, whole
from api.web.conditions import IfMatch, expected_by
from api.web.dependencies import Service, WritingService
from api.web.entities import GONE, ONE, WRITTEN, created_at, validators
from api.web.lists import listed, position_in
from api.web.parameters import Cursor, Limit
from api.web.problems import documented
from api.web.requests import PlainInteger, overlap_in, overlap_query
from api.web.responses import json_answer, written
from api.web.routing import Router, calls
from domain.delivery.webhooks import MAX_URL, NewWebhook, Secret, State, Webhook
from domain.idempotency import Committed
from domain.lists.grammar import MAX_LENGTH
from domain.lists.pages import BY_ID, DEFAULT_LIMIT
from domain.values import MAX_ID
from services.delivery.webhooks import MAX_OVERLAP, WebhookService

router = Router("/webhooks", "webhooks")

Webhooks = Annotated[WebhookService, Depends(Service(lambda container: container.webhooks))]
WebhooksToWrite = Annotated[WebhookService, Depends(WritingService(lambda container: container.webhooks))]

Url = Annotated[
    str,
    Field(
        description="Where messages are sent: an https URL of a public host, in ASCII, without credentials",
        examples=["https://example.org/hooks"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_URL, "pattern": r"^[hH][tT][tT][pP][sS]?://[!-\[\]-~]+$"},
    ),
]
FilterText = Annotated[
    str | None,
    Field(
        description="Only the changes that match this expression, in the language of the filters of `/changes/`; "
        "null for all changes",
        examples=['kind eq "user" and action ne "updated"'],
        json_schema_extra={"minLength": 1, "maxLength": MAX_LENGTH},
    ),
]
SecretText = Annotated[
    str,
    Field(
        description="The secret that signs messages, in the form of Standard Webhooks. It is shown only this once",
        examples=["whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="],
    ),
]


class WebhookIn(BaseModel):
    """A webhook to be created."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.org/hooks", "filter": 'kind eq "user"'}]},
    )

    url: Url
    filter: FilterText = None
    since: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_ID,
            description=(
                "Begin with the change after this number; 0 sends all changes that are kept. The default is the "
                "next change"
            ),
            examples=[0],
        ),
        BeforeValidator(whole),
    ] = None


class WebhookPatch(BaseModel):
    """A JSON merge patch (RFC 7396). A field that is left out stays unchanged, null clears a field."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"filter": None}]})

    url: Url = Field(default_factory=str)
    filter: FilterText = None


class WebhookOut(BaseModel):
    """A webhook, without its secret."""

    id: Annotated[int, Field(description="Never used again", ge=1, le=MAX_ID, examples=[1])]
    url: Url
    filter: FilterText
    state: Annotated[
        State,
        Field(
            description=(
                "`failing`: it is active, and its last attempt failed. `disabled`: its receiver has answered 410"
            )
        ),
    ]
    position: Annotated[
        int, Field(description="All changes up to this number were delivered, or have a delivery", ge=0)
    ]
    failing_since: Annotated[
        datetime | None, Field(description="Since when no attempt has succeeded, if it is failing")
    ]
    silent_until: Annotated[datetime | None, Field(description="Until when its receiver has asked for no messages")]
    created_at: Annotated[datetime, Field(description="When it was created")]
    rotated_at: Annotated[
        datetime | None, Field(description="When it got its present secret, if that is not its first one")
    ]


class WebhookWithSecret(WebhookOut):
    """A webhook with its secret, which is shown only this once."""

    secret: SecretText


NAMES: Final = tuple(WebhookOut.model_fields)
NOT_KEPT: Final = {"Cache-Control": "no-store"}
DEFAULT_OVERLAP: Final = "24h"

WebhookId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger, Path(description="The id of a webhook", examples=[1])]
Overlap = Annotated[str, overlap_query("How long messages are also signed with the previous secret")]


@router.post(
    "/",
    status_code=201,
    response_model=WebhookWithSecret,
    responses={201: created_at("webhook"), **documented(400, 415, 422)},
)
@calls(WebhookService.create)
async def create_webhook(request: Request, webhooks: WebhooksToWrite, body: WebhookIn) -> Response:
    """Create a webhook, which sends changes to a URL by Standard Webhooks.

    Each change that matches the filter is sent, and tried again until the receiver answers with a 2xx.
    """
    committed = await webhooks.create(NewWebhook(url=body.url, filter=body.filter), since=body.since)
    location = f"{request.scope.get('root_path', '')}/webhooks/{committed.result[0].id}"
    return with_secret(webhooks, committed, 201, {"Location": location})


@router.get("/", response_model=list[WebhookOut], responses=documented(400, 422))
@calls(WebhookService.list)
async def list_webhooks(
    request: Request, webhooks: Webhooks, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """List the webhooks, sorted by id."""
    after = position_in(request, webhooks, cursor, BY_ID)
    return listed(request, webhooks, await webhooks.list(after=after, limit=limit), shown, BY_ID)


@router.get("/{id}", response_model=WebhookOut, responses={200: ONE, **documented(404, 422)})
@calls(WebhookService.get)
async def get_webhook(webhooks: Webhooks, id: WebhookId) -> Response:
    """One webhook. Its version, which is in the ETag, does not change with its position."""
    webhook = await webhooks.get(id)
    return json_answer(shown(webhook), headers=validators(webhook))


@router.patch(
    "/{id}",
    response_model=WebhookOut,
    responses={200: WRITTEN, **documented(400, 404, 412, 415, 422)},
    openapi_extra=patch_body("WebhookPatch"),
)
@calls(WebhookService.patch)
async def patch_webhook(
    webhooks: WebhooksToWrite, id: WebhookId, body: WebhookPatch, if_match: IfMatch = None
) -> Response:
    """Change the URL or the filter by a JSON merge patch. A new filter applies to changes that were not delivered
    yet."""
    patch: dict[str, Any] = body.model_dump(exclude_unset=True)
    return changed(webhooks, await webhooks.patch(id, patch, expected=expected_by(if_match)))


@router.post("/{id}/rotate", response_model=WebhookWithSecret, responses={200: WRITTEN, **documented(404, 422)})
@calls(WebhookService.rotate)
async def rotate_webhook(webhooks: WebhooksToWrite, id: WebhookId, overlap: Overlap = DEFAULT_OVERLAP) -> Response:
    """Give a webhook a new secret. During the overlap, messages have two signatures."""
    return with_secret(webhooks, await webhooks.rotate(id, overlap=overlap_in(overlap, MAX_OVERLAP)))


@router.post("/{id}/pause", response_model=WebhookOut, responses={200: WRITTEN, **documented(404, 422)})
@calls(WebhookService.pause)
async def pause_webhook(webhooks: WebhooksToWrite, id: WebhookId) -> Response:
    """Send nothing until the webhook is resumed. Nothing is lost: changes made meanwhile are sent then."""
    return changed(webhooks, await webhooks.pause(id))


@router.post("/{id}/resume", response_model=WebhookOut, responses={200: WRITTEN, **documented(404, 422)})
@calls(WebhookService.resume)
async def resume_webhook(webhooks: WebhooksToWrite, id: WebhookId) -> Response:
    """Continue sending, after a pause or after the receiver has answered 410."""
    return changed(webhooks, await webhooks.resume(id))


@router.delete("/{id}", status_code=204, response_class=Response, responses={204: GONE, **documented(404, 412, 422)})
@calls(WebhookService.delete)
async def delete_webhook(webhooks: WebhooksToWrite, id: WebhookId, if_match: IfMatch = None) -> Response:
    """Remove a webhook permanently, with its secret and its deliveries."""
    committed = await webhooks.delete(id, expected=expected_by(if_match))
    return Response(status_code=204, headers=written(webhooks, committed))


def changed(service: WebhookService, committed: Committed[Webhook]) -> Response:
    webhook = committed.result
    return json_answer(shown(webhook), headers={**validators(webhook), **written(service, committed)})


def with_secret(
    service: WebhookService,
    committed: Committed[tuple[Webhook, Secret]],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    webhook, secret = committed.result
    written_by = {**validators(webhook), **written(service, committed), **NOT_KEPT, **(headers or {})}
    return json_answer({**shown(webhook), "secret": str(secret)}, status, written_by)


def shown(webhook: Webhook) -> dict[str, Any]:
    return {**{name: getattr(webhook, name) for name in NAMES}, "state": webhook.shown_state}

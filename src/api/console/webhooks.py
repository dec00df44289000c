"""Webhooks in the console: endpoints, their deliveries, sending again, and test messages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.forms import Fields
from api.console.pages import Form, faults_in, number, render, route, service, to
from api.web.cursors import read_cursor, write_cursor
from domain.delivery.deliveries import BY_CHANGE, Answer, DeliveryState
from domain.delivery.webhooks import NewWebhook
from domain.errors import Invalid, Malformed, Stale
from domain.lists.pages import MAX_LIMIT
from services.delivery.deliveries import DeliveryService
from services.delivery.webhooks import WebhookService

if TYPE_CHECKING:
    from domain.values import JsonObject

SHOWN: Final = 50
FORM: Final = Fields(
    noun="webhook",
    path="/webhooks",
    texts={"url": "URL", "filter": 'Only changes that match, as in kind eq "user"'},
)


def webhooks_of(request: Request) -> WebhookService:
    return service(request, lambda container: container.webhooks)


def deliveries_of(request: Request) -> DeliveryService:
    return service(request, lambda container: container.deliveries)


def id_of(request: Request) -> int:
    return number(request.path_params["id"], 0)


async def list_webhooks(request: Request) -> Response:
    found = await webhooks_of(request).list(limit=MAX_LIMIT)
    return render(request, "webhooks.html", webhooks=found.items)


async def new_webhook(request: Request) -> Response:
    return FORM.page(request, None, {})


async def create_webhook(request: Request) -> Response:
    form: Form = request.state.form
    try:
        created = await webhooks_of(request).create(NewWebhook(**FORM.texts_in(form)))
    except Invalid as refusal:
        return FORM.page(request, None, form, faults_in(refusal), status=422)
    webhook, secret = created.result
    return await webhook_page(request, webhook.id, secret=str(secret))


async def show_webhook(request: Request) -> Response:
    return await webhook_page(request, id_of(request))


async def webhook_page(request: Request, id: int, *, secret: str = "", answer: Answer | None = None) -> Response:
    """A page of deliveries, the newest change first. A secret is shown once."""
    state = request.query_params.get("state", "")
    if state and state not in tuple(DeliveryState):
        raise Malformed("There is no such state.")
    of, cursor = f"deliveries of {id} {state}", request.query_params.get("cursor")
    after = None if cursor is None else read_cursor(cursor, of, BY_CHANGE)
    found = await deliveries_of(request).list(
        id, state=DeliveryState(state) if state else None, after=after, limit=SHOWN
    )
    return render(
        request,
        "webhook.html",
        webhook=await webhooks_of(request).get(id),
        deliveries=found.items,
        state=state,
        states=tuple(DeliveryState),
        next=write_cursor(BY_CHANGE.position(found.items[-1]), of) if found.more else None,
        secret=secret,
        answer=answer,
    )


async def edit_webhook(request: Request) -> Response:
    webhook = await webhooks_of(request).get(id_of(request))
    return FORM.page(request, webhook, FORM.texts_of(webhook))


async def save_webhook(request: Request) -> Response:
    """Store an edit. If it was made on an older version, it is not stored, and both versions are shown."""
    form: Form = request.state.form
    webhooks, id = webhooks_of(request), id_of(request)
    patch: JsonObject = FORM.texts_in(form)
    try:
        await webhooks.patch(id, patch, expected=(number(form.get("version"), 0),))
    except Stale:
        webhook = await webhooks.get(id)
        return FORM.page(request, webhook, form, stored=FORM.texts_of(webhook), status=409)
    except Invalid as refusal:
        return FORM.page(request, await webhooks.get(id), form, faults_in(refusal), status=422)
    return to(request, f"/webhooks/{id}")


async def act_on_webhook(request: Request) -> Response:
    id, action = id_of(request), request.path_params["action"]
    if action == "rotate":
        rotated = await webhooks_of(request).rotate(id)
        return await webhook_page(request, id, secret=str(rotated.result[1]))
    if action == "test":
        return await webhook_page(request, id, answer=await deliveries_of(request).test(id))
    if action == "send-again":
        await deliveries_of(request).send_again(id, number(request.state.form.get("change"), 0))
        return to(request, f"/webhooks/{id}")
    if action not in ACTIONS:
        raise Malformed("There is no such action.")
    await ACTIONS[action](webhooks_of(request), id)
    return to(request, "/webhooks" if action == "delete" else f"/webhooks/{id}")


ACTIONS: Final[Mapping[str, Callable[[WebhookService, int], Awaitable[Any]]]] = {
    "pause": WebhookService.pause,
    "resume": WebhookService.resume,
    "delete": WebhookService.delete,
}

ROUTES: Final = (
    route("/webhooks", list_webhooks),
    route("/webhooks/new", new_webhook),
    route("/webhooks/new", create_webhook, methods=("POST",)),
    route("/webhooks/{id}", show_webhook),
    route("/webhooks/{id}/edit", edit_webhook),
    route("/webhooks/{id}/edit", save_webhook, methods=("POST",)),
    route("/webhooks/{id}/{action}", act_on_webhook, methods=("POST",)),
)

"""`roster webhooks`, on the database itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from api.commands.console import DatabaseUrl, Json, duration, in_service_of, lawful, show
from domain.delivery.deliveries import Answer, Delivery, DeliveryState
from domain.delivery.webhooks import NewWebhook, Webhook
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.values import MAX_ID, JsonObject
from services.delivery.deliveries import DeliveryService
from services.delivery.webhooks import WebhookService

T = TypeVar("T")

webhooks = typer.Typer(help="Webhooks: URLs to which changes are sent.", no_args_is_help=True)

Url = Annotated[str, typer.Argument(help="Where the messages are sent")]
WebhookId = Annotated[int, typer.Argument(help="The id of the webhook, as list shows it", min=1, max=MAX_ID)]
FilterText = Annotated[str | None, typer.Option("--filter", help="Only changes that match, as in /changes/")]
Since = Annotated[
    int | None,
    typer.Option(
        help="Begin after the change with this number; 0 sends all. The default is the next change", min=0, max=MAX_ID
    ),
]
NewUrl = Annotated[str | None, typer.Option("--url", help="Where the messages are sent from now on")]
NoFilter = Annotated[bool, typer.Option("--all", help="Send every change, without a filter")]
Overlap = Annotated[str, typer.Option(help="How long messages are also signed with the previous secret, as in 24h")]
InState = Annotated[DeliveryState | None, typer.Option("--state", help="Only deliveries in this state")]
Limit = Annotated[int, typer.Option(help="How many at most", min=1, max=MAX_LIMIT)]
Seq = Annotated[int, typer.Argument(help="The number of the change, as deliveries shows it", min=1, max=MAX_ID)]


@webhooks.command("create")
def create_webhook(
    url: Url, filter: FilterText = None, since: Since = None, json: Json = False, database_url: DatabaseUrl = None
) -> None:
    """Create a webhook and show its secret, this once only."""
    new = lawful(lambda: NewWebhook(url=url, filter=filter))
    webhook, secret = in_service(lambda service: service.create(new, since=since), database_url).result
    show({**as_over_http(webhook), "secret": str(secret)}, as_json=json)


@webhooks.command("list")
def list_webhooks(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """List the webhooks, without their secrets."""

    async def every(service: WebhookService) -> list[Webhook]:
        found: list[Webhook] = []
        after = None
        while (page := await service.list(after=after, limit=MAX_LIMIT)).items:
            found += page.items
            after = BY_ID.position(found[-1])
        return found

    show([as_over_http(webhook) for webhook in in_service(every, database_url)], as_json=json)


@webhooks.command("change")
def change_webhook(
    *,
    id: WebhookId,
    url: NewUrl = None,
    filter: FilterText = None,
    all: NoFilter = False,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Change the URL or the filter. A new filter applies to changes that were not delivered yet."""
    patch: JsonObject = {
        **({} if url is None else {"url": url}),
        **({"filter": filter} if filter is not None or all else {}),
    }
    show(as_over_http(in_service(lambda service: service.patch(id, patch), database_url).result), as_json=json)


@webhooks.command("rotate")
def rotate_webhook(
    id: WebhookId, overlap: Overlap = "24h", json: Json = False, database_url: DatabaseUrl = None
) -> None:
    """Give a webhook a new secret and show it, this once only."""
    span = duration(overlap)
    webhook, secret = in_service(lambda service: service.rotate(id, overlap=span), database_url).result
    show({**as_over_http(webhook), "secret": str(secret)}, as_json=json)


@webhooks.command("pause")
def pause_webhook(id: WebhookId, database_url: DatabaseUrl = None) -> None:
    """Send nothing until the webhook is resumed. Nothing is lost."""
    in_service(lambda service: service.pause(id), database_url)
    typer.echo(f"Webhook {id} is paused.")


@webhooks.command("resume")
def resume_webhook(id: WebhookId, database_url: DatabaseUrl = None) -> None:
    """Continue sending, after a pause or after the receiver has answered 410."""
    in_service(lambda service: service.resume(id), database_url)
    typer.echo(f"Webhook {id} is active.")


@webhooks.command("delete")
def delete_webhook(id: WebhookId, database_url: DatabaseUrl = None) -> None:
    """Remove a webhook permanently, with its secret and its deliveries."""
    in_service(lambda service: service.delete(id), database_url)
    typer.echo(f"Webhook {id} is removed.")


@webhooks.command("deliveries")
def list_deliveries(
    id: WebhookId, state: InState = None, limit: Limit = 20, json: Json = False, database_url: DatabaseUrl = None
) -> None:
    """List the deliveries of a webhook, the newest change first."""
    page = in_service_of(
        lambda container: container.deliveries, lambda service: service.list(id, state=state, limit=limit), database_url
    )
    show([delivery_as_over_http(each) for each in page.items], as_json=json)


@webhooks.command("retry")
def retry_delivery(id: WebhookId, change: Seq, database_url: DatabaseUrl = None) -> None:
    """Send a change again. A running server does this within some seconds."""
    in_service_of(lambda container: container.deliveries, lambda service: service.send_again(id, change), database_url)
    typer.echo(f"Change {change} is sent again.")


@webhooks.command("test")
def send_test(id: WebhookId, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Send a test message from this machine, and show the answer of the receiver."""

    async def answer(service: DeliveryService) -> Answer:
        return await service.test(id)

    tested = in_service_of(lambda container: container.deliveries, answer, database_url)
    show(answer_as_over_http(tested), as_json=json)


def in_service(act: Callable[[WebhookService], Awaitable[T]], database_url: str | None) -> T:
    return in_service_of(lambda container: container.webhooks, act, database_url)


def as_over_http(webhook: Webhook) -> Mapping[str, Any]:
    from api.webhooks import shown  # noqa: PLC0415  # it imports FastAPI, which other commands do not need

    return shown(webhook)


def delivery_as_over_http(delivery: Delivery) -> Mapping[str, Any]:
    from api.deliveries import shown  # noqa: PLC0415

    return shown(delivery)


def answer_as_over_http(answer: Answer) -> Mapping[str, Any]:
    from api.deliveries import outcome  # noqa: PLC0415

    return outcome(answer)

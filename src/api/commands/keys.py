"""`roster keys`: API keys, on the database itself."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from api.commands.console import (
    DatabaseUrl,
    Json,
    duration,
    fail,
    in_service_of,
    lawful,
    reasons,
    settings_from,
    show,
)
from api.randomness import random_characters
from domain.errors import Refusal
from domain.keys import FIRST_ID, Key, LastAdminKey, NewKey, Scope, write_secret
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.values import MAX_ID
from services.keys import KeyService

T = TypeVar("T")

keys = typer.Typer(help="API keys: who may call, and with which scopes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name that tells people who uses the key")]
KeyId = Annotated[int, typer.Argument(help="The id of the key, as list shows it", min=1, max=MAX_ID)]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", help=f"What the key allows. Can be given several times. Scopes are {', '.join(Scope)}"),
]
AllScopes = Annotated[bool, typer.Option("--all-scopes", help="The key allows everything")]
Expires = Annotated[str | None, typer.Option(help="How long the key is valid, as in 90d, 12h or 30m")]
LinkKey = Annotated[
    int | None,
    typer.Option(
        help="The id of the key whose scopes the session gets. Not needed if there is only one key", min=1, max=MAX_ID
    ),
]
Overlap = Annotated[str, typer.Option(help="How long the previous secret stays valid, as in 24h")]
Force = Annotated[bool, typer.Option(help="Revoke it even if it is the last one that may administer keys")]


@keys.command("create")
def create_key(  # noqa: PLR0917  # the command line passes them by name
    name: Name,
    scope: Scopes = [],  # noqa: B006  # typer does not change it
    all_scopes: AllScopes = False,
    expires: Expires = None,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a key and show its secret, this once only. After the first key is created, every request needs one."""
    expires_at = None if expires is None else datetime.now(UTC) + duration(expires)
    if bool(scope) == all_scopes:
        fail("Say what the key allows: --all-scopes, or --scope users:read and so on.")
    scopes: Any = tuple(Scope) if all_scopes else tuple(scope)  # the domain checks these
    new = lawful(lambda: NewKey(name=name, scopes=scopes, expires_at=expires_at))
    key, secret = in_service(lambda service: service.create(new), database_url).result
    show({**as_over_http(key), "secret": secret}, as_json=json)


@keys.command("list")
def list_keys(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """List the keys that are not revoked, without their secrets."""

    async def every(service: KeyService) -> list[Key]:
        found: list[Key] = []
        after = None
        while (page := await service.list(after=after, limit=MAX_LIMIT)).items:
            found += page.items
            after = BY_ID.position(found[-1])
        return found

    show([as_over_http(key) for key in in_service(every, database_url)], as_json=json)


@keys.command("rotate")
def rotate_key(id: KeyId, overlap: Overlap = "24h", json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Give a key a new secret and show it, this once only."""
    span = duration(overlap)
    key, secret = in_service(lambda service: service.rotate(id, overlap=span), database_url).result
    show({**as_over_http(key), "secret": secret}, as_json=json)


@keys.command("revoke")
def revoke_key(id: KeyId, force: Force = False, database_url: DatabaseUrl = None) -> None:
    """Revoke a key. A running server notices this within 5 seconds."""
    in_service(lambda service: service.revoke(id, force=force), database_url)
    typer.echo(f"Key {id} is revoked.")


@keys.command("console-link")
def create_console_link(key: LinkKey = None, database_url: DatabaseUrl = None) -> None:
    """Print a link that signs in to the console of a running server. It works once, within half an hour."""
    settings = settings_from(database_url=database_url)

    async def link(service: KeyService) -> str:
        found = (await service.list(limit=2)).items
        id = found[0].id if key is None and len(found) == 1 else key
        return (await service.link(id)).result

    token = in_service(link, database_url)
    typer.echo(f"{settings.address}/console/link/{token}")


@keys.command("generate")
def generate_key() -> None:
    """Generate a secret for ROSTER_BOOTSTRAP_KEY, which becomes the first key of a new directory. Nothing is stored."""
    typer.echo(write_secret(FIRST_ID, random_characters()))


def in_service(act: Callable[[KeyService], Awaitable[T]], database_url: str | None) -> T:
    return in_service_of(lambda container: container.keys, act, database_url, reasons_of)


def reasons_of(refusal: Refusal) -> list[str]:
    if isinstance(refusal, LastAdminKey):
        return [f"{refusal.detail} Use --force to revoke it."]
    return reasons(refusal)


def as_over_http(key: Key) -> Mapping[str, Any]:
    from api.keys import shown  # noqa: PLC0415  # it imports FastAPI, which other commands do not need

    return shown(key)

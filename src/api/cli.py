"""The command line: `roster serve`, `roster db`, `roster keys`, `roster version`.

Each command imports what it alone needs: nobody who asks for the version waits for a server to be loaded.
"""

import asyncio
import gc
import json
import os
import pwd
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar
from uuid import uuid4

import typer
from pydantic import ValidationError
from pydantic_core import to_json

from api.randomness import random_characters
from api.settings import Settings
from domain.errors import Invalid, NotReady, Refusal
from domain.keys import FIRST_ID, Key, LastAdminKey, NewKey, Scope, write_secret
from domain.pages import MAX_LIMIT
from domain.values import MAX_ID
from domain.work import Occasion
from services.keys import KeyService

if TYPE_CHECKING:
    from api.container import Container

T = TypeVar("T")

app = typer.Typer(name="roster", help="A user directory service.", no_args_is_help=True, add_completion=False)
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
keys = typer.Typer(help="API keys: who may call, and for what.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")


def told(field: str) -> str | None:
    return Settings.model_fields[field].description


Host = Annotated[str | None, typer.Option(help=told("host"))]
Port = Annotated[int | None, typer.Option(help=told("port"))]
Workers = Annotated[int | None, typer.Option(help=told("workers"))]
DatabaseUrl = Annotated[str | None, typer.Option(help=told("database_url"))]


def settings_from(**flags: object) -> Settings:
    """Flags before environment before .env before defaults. What is wrong is said without the value."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        refuse(*(f"ROSTER_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()))


def refuse(*reasons: str) -> NoReturn:
    for reason in reasons:
        typer.echo(f"roster: {reason}", err=True)
    raise typer.Exit(2)


def in_directory(run: "Callable[[Container], Coroutine[Any, Any, T]]", database_url: str | None) -> T:
    """Run something in the directory beside a server that may be running."""
    from dependency_injector import providers  # noqa: PLC0415

    from api.container import Container  # noqa: PLC0415  # commands without a database start without it

    settings = settings_from(database_url=database_url)
    container = Container(settings=providers.Object(settings), serving=providers.Object(False))
    try:
        return asyncio.run(run(container))
    except NotReady as error:
        refuse(str(error))


@app.command()
def serve(host: Host = None, port: Port = None, workers: Workers = None, database_url: DatabaseUrl = None) -> None:
    """Serve the directory. Every flag can also be set in the environment, as ROSTER_HOST and so on."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # another program's: workers are told of a folder of their own
    settings = settings_from(host=host, port=port, workers=workers, database_url=database_url)
    with loading_to_stay():
        from api.server import serve as serve_until_told_to_stop  # noqa: PLC0415  # the other commands start without it

    try:
        serve_until_told_to_stop(settings)
    except NotReady as error:
        refuse(str(error))


@contextmanager
def loading_to_stay() -> Iterator[None]:
    """What a server imports is no garbage, so nothing looks for any in it.

    To look for it takes a fifth of the start, and each full collection of a server would pause it for 0.1 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@db.command()
def upgrade(database_url: DatabaseUrl = None) -> None:
    """Bring the schema to its head. Any number of processes may do so at once."""

    async def run(container: "Container") -> str:
        database = container.database()
        await database.upgrade()
        status = await database.status()
        await database.stop()
        return f"{database.name} is at {status.current}."

    typer.echo(in_directory(run, database_url))


@db.command()
def status(database_url: DatabaseUrl = None) -> None:
    """Say at which revision the schema is. Exits with 1 if that is not the head."""

    async def run(container: "Container") -> tuple[str, bool]:
        database = container.database()
        status = await database.status()
        await database.stop()
        return f"{database.name}: {status}", status.at_head

    text, at_head = in_directory(run, database_url)
    typer.echo(text)
    raise typer.Exit(0 if at_head else 1)


Name = Annotated[str, typer.Argument(help="Who uses the key, for people")]
KeyId = Annotated[int, typer.Argument(help="The id of the key, as list shows it", min=1, max=MAX_ID)]
Scopes = Annotated[list[Scope], typer.Option("--scope", help="What the key is good for; name as many as it takes")]
Expires = Annotated[str | None, typer.Option(help="After how many days, hours or minutes, as in 90d, 12h, 30m")]
Overlap = Annotated[str, typer.Option(help="For how long the secret before is good as well, as in 24h")]
Force = Annotated[bool, typer.Option(help="Revoke it though it is the last one that may administer keys")]
Json = Annotated[bool, typer.Option("--json", help="Say it in JSON")]


@keys.command("create")
def create_key(
    name: Name, scope: Scopes, expires: Expires = None, json: Json = False, database_url: DatabaseUrl = None
) -> None:
    """Create a key and show its secret, this once. The first key locks the door."""
    expires_at = None if expires is None else datetime.now(UTC) + duration(expires)
    new = lawful(lambda: NewKey(name=name, scopes=tuple(scope), expires_at=expires_at))
    key, secret = in_service(lambda service: service.create(new), database_url)
    show({**as_over_http(key), "secret": secret}, as_json=json)


@keys.command("list")
def list_keys(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """List the keys that are not revoked, without their secrets."""

    async def every(service: KeyService) -> list[Key]:
        found: list[Key] = []
        while (page := await service.list(after=found[-1].id if found else 0, limit=MAX_LIMIT)).items:
            found += page.items
        return found

    show([as_over_http(key) for key in in_service(every, database_url)], as_json=json)


@keys.command("rotate")
def rotate_key(id: KeyId, overlap: Overlap = "24h", json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Give a key a new secret and show it, this once."""
    span = duration(overlap)
    key, secret = in_service(lambda service: service.rotate(id, overlap=span), database_url)
    show({**as_over_http(key), "secret": secret}, as_json=json)


@keys.command("revoke")
def revoke_key(id: KeyId, force: Force = False, database_url: DatabaseUrl = None) -> None:
    """Revoke a key. A server that runs notices within 5 seconds."""
    in_service(lambda service: service.revoke(id, force=force), database_url)
    typer.echo(f"Key {id} is revoked.")


@keys.command("generate")
def generate_key() -> None:
    """Make up a secret for ROSTER_BOOTSTRAP_KEY, by which a new directory gets its first key. Nothing is stored."""
    typer.echo(write_secret(FIRST_ID, random_characters()))


def in_service(act: Callable[[KeyService], Awaitable[T]], database_url: str | None) -> T:
    """Do something with the keys, in the name of whoever sits at this machine."""

    async def run(container: "Container") -> T:
        units = container.units()
        await units.start()
        try:
            occasion = Occasion(actor=f"cli:{os_user()}", request_id=uuid4().hex)
            return await act(container.keys(occasion))
        finally:
            await units.stop()

    try:
        return in_directory(run, database_url)
    except Refusal as refusal:
        refuse(*reasons_of(refusal))


def os_user() -> str:
    """Who runs this, as the system knows: the environment says what anybody likes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, users may be mere numbers
        return str(os.getuid())


def lawful(make: Callable[[], T]) -> T:
    try:
        return make()
    except Invalid as invalid:
        refuse(*reasons_of(invalid))


def reasons_of(refusal: Refusal) -> list[str]:
    match refusal:
        case Invalid(faults=faults):
            return [f"{fault.pointer.removeprefix('/')}: {fault.detail}" for fault in faults]
        case LastAdminKey(detail=detail):
            return [f"{detail} With --force it is revoked all the same."]
        case _:
            return [refusal.detail]


def duration(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([dhm])", text)
    if match is None:
        refuse(f"{text!r} is no duration: write 90d, 12h or 30m.")
    return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[match[2]]: int(match[1])})


def as_over_http(key: Key) -> Mapping[str, Any]:
    from api.keys import shown  # noqa: PLC0415  # and with it FastAPI, which other commands start without

    return shown(key)


def show(found: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(found, indent=2).decode())
        return
    for item in [found] if isinstance(found, Mapping) else found:
        typer.echo("\n".join(f"{name:<13} {readable(value)}" for name, value in item.items() if value is not None))
        typer.echo()


def readable(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if text.isprintable() else ascii(text)  # a name may hold what a terminal would obey


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP API."""
    from api.app import create_app  # noqa: PLC0415
    from api.container import Container  # noqa: PLC0415

    typer.echo(json.dumps(create_app(Container()).openapi(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Say which version this is."""
    typer.echo(version_of("roster"))


if __name__ == "__main__":
    app()

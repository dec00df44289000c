"""What commands share: settings from flags, refusals, a container of their own, output for people or as JSON."""

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar
from uuid import uuid4

import typer
from pydantic import ValidationError
from pydantic_core import to_json

from api.settings import Settings
from api.words import sentence_of
from domain import values
from domain.errors import Invalid, NotReady, Refusal
from domain.work import RequestContext

if TYPE_CHECKING:
    from api.container import Container

S = TypeVar("S")
T = TypeVar("T")


def help_of(field: str) -> str | None:
    return Settings.model_fields[field].description


Host = Annotated[str | None, typer.Option(help=help_of("host"))]
Port = Annotated[int | None, typer.Option(help=help_of("port"))]
Workers = Annotated[int | None, typer.Option(help=help_of("workers"))]
DatabaseUrl = Annotated[str | None, typer.Option(help=help_of("database_url"))]


Json = Annotated[bool, typer.Option("--json", help="Print JSON")]


def settings_from(**flags: object) -> Settings:
    """Flags come first, then the environment, .env, and defaults. A message about a wrong value does not repeat it."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        fail(*(f"ROSTER_{str(each['loc'][0]).upper()}: {sentence_of(each)}" for each in error.errors()))


def fail(*reasons: str) -> NoReturn:
    for reason in reasons:
        typer.echo(f"roster: {reason}", err=True)
    raise typer.Exit(2)


def in_directory(run: "Callable[[Container], Coroutine[Any, Any, T]]", database_url: str | None) -> T:
    """Run a command on the directory. A server may be running."""
    settings = settings_from(database_url=database_url)
    for warning in Settings.unknown():
        typer.echo(f"roster: {warning}", err=True)
    return run_in(container_with(settings), run)


def container_with(settings: Settings) -> "Container":
    from dependency_injector import providers  # noqa: PLC0415

    from api.container import Container  # noqa: PLC0415  # commands without a database start without it

    return Container(settings=providers.Object(settings), serving=providers.Object(False))


def run_in(container: "Container", run: "Callable[[Container], Coroutine[Any, Any, T]]") -> T:
    try:
        return asyncio.run(run(container))
    except NotReady as error:
        fail(str(error))


def in_service_of(
    provider: "Callable[[Container], Callable[[RequestContext], S]]",
    act: Callable[[S], Awaitable[T]],
    database_url: str | None,
    reasons_of: Callable[[Refusal], Sequence[str]] | None = None,
) -> T:
    """Call a service in the name of the user of this machine. A refusal ends the command with its reasons."""

    async def run(container: "Container") -> T:
        units = container.units()
        await units.start()
        typer.echo(f"roster: {container.database().name}", err=True)  # a key in another file would be of no use
        try:
            context = RequestContext(actor=f"cli:{os_user()}", request_id=uuid4().hex)
            return await act(provider(container)(context))
        finally:
            await units.stop()

    try:
        return in_directory(run, database_url)
    except Refusal as refusal:
        fail(*(reasons_of or reasons)(refusal))


def os_user() -> str:
    """The user who runs this, by the system. The environment could name anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, users may be mere numbers
        return str(os.getuid())


def lawful(make: Callable[[], T]) -> T:
    """What is made, by the rules of the domain. If it breaks one, the command ends with the reasons."""
    try:
        return make()
    except Refusal as refusal:
        fail(*reasons(refusal))


def reasons(refusal: Refusal) -> list[str]:
    if isinstance(refusal, Invalid):
        return [f"{fault.pointer.removeprefix('/')}: {fault.detail}" for fault in refusal.faults]
    return [refusal.detail]


def duration(text: str) -> timedelta:
    if (span := values.duration(text)) is None:
        fail(f"{text!r} is not a duration. Write 90d, 12h, 30m or 45s.")
    return span


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
    return text if text.isprintable() else ascii(text)  # a name may have control characters of a terminal


WIDEST: Final = 10_000


def show_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """A row for each: as a table for people, or as JSON. Elsewhere than on a terminal nothing is cut off."""
    if as_json:
        typer.echo(to_json(list(rows), indent=2).decode())
        return
    from rich.console import Console  # noqa: PLC0415  # it takes a while to load
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        values = (row.get(column) for column in columns)
        table.add_row(*(Text("" if value is None else readable(value)) for value in values))
    console = Console(width=None if sys.stdout.isatty() else WIDEST)
    with console.capture() as printed:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))

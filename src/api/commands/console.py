"""What commands share: settings from flags, refusals, a container of their own, output for people or as JSON."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_core import to_json

from api.settings import Settings
from domain.errors import NotReady

if TYPE_CHECKING:
    from api.container import Container

T = TypeVar("T")


def help_of(field: str) -> str | None:
    return Settings.model_fields[field].description


Host = Annotated[str | None, typer.Option(help=help_of("host"))]
Port = Annotated[int | None, typer.Option(help=help_of("port"))]
Workers = Annotated[int | None, typer.Option(help=help_of("workers"))]
DatabaseUrl = Annotated[str | None, typer.Option(help=help_of("database_url"))]


def settings_from(**flags: object) -> Settings:
    """Flags come first, then the environment, .env, and defaults. A message about a wrong value does not repeat it."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        refuse(*(f"ROSTER_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()))


def refuse(*reasons: str) -> NoReturn:
    for reason in reasons:
        typer.echo(f"roster: {reason}", err=True)
    raise typer.Exit(2)


def in_directory(run: "Callable[[Container], Coroutine[Any, Any, T]]", database_url: str | None) -> T:
    """Run a command on the directory. A server may be running."""
    from dependency_injector import providers  # noqa: PLC0415

    from api.container import Container  # noqa: PLC0415  # commands without a database start without it

    settings = settings_from(database_url=database_url)
    container = Container(settings=providers.Object(settings), serving=providers.Object(False))
    try:
        return asyncio.run(run(container))
    except NotReady as error:
        refuse(str(error))


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

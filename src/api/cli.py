"""The command line: `roster serve`, `roster db`, `roster version`."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from importlib.metadata import version as version_of
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from dependency_injector import providers
from pydantic import ValidationError

from api.container import Container
from api.settings import Settings
from domain.errors import NotReady

T = TypeVar("T")

app = typer.Typer(name="roster", help="A user directory service.", no_args_is_help=True, add_completion=False)
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(db, name="db")


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


def in_directory(run: Callable[[Container], Coroutine[Any, Any, T]], database_url: str | None) -> T:
    """Run something in the directory beside a server that may be running."""
    settings = settings_from(database_url=database_url)
    container = Container(settings=providers.Object(settings), serving=providers.Object(False))
    try:
        return asyncio.run(run(container))
    except NotReady as error:
        refuse(str(error))


@app.command()
def serve(host: Host = None, port: Port = None, workers: Workers = None, database_url: DatabaseUrl = None) -> None:
    """Serve the directory. Every flag can also be set in the environment, as ROSTER_HOST and so on."""
    from api.server import serve as serve_until_told_to_stop  # noqa: PLC0415  # the other commands start without it

    settings = settings_from(host=host, port=port, workers=workers, database_url=database_url)
    try:
        serve_until_told_to_stop(settings)
    except NotReady as error:
        refuse(str(error))


@db.command()
def upgrade(database_url: DatabaseUrl = None) -> None:
    """Bring the schema to its head. Any number of processes may do so at once."""

    async def run(container: Container) -> str:
        database = container.database()
        await database.upgrade()
        status = await database.status()
        await database.stop()
        return f"{database.name} is at {status.current}."

    typer.echo(in_directory(run, database_url))


@db.command()
def status(database_url: DatabaseUrl = None) -> None:
    """Say at which revision the schema is. Exits with 1 if that is not the head."""

    async def run(container: Container) -> tuple[str, bool]:
        database = container.database()
        status = await database.status()
        await database.stop()
        return f"{database.name}: {status}", status.at_head

    text, at_head = in_directory(run, database_url)
    typer.echo(text)
    raise typer.Exit(0 if at_head else 1)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP API."""
    from api.app import create_app  # noqa: PLC0415

    typer.echo(json.dumps(create_app(Container()).openapi(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Say which version this is."""
    typer.echo(version_of("roster"))


if __name__ == "__main__":
    app()

"""`roster db`: the schema of the database."""

from typing import TYPE_CHECKING

import typer

from api.commands.console import DatabaseUrl, in_directory

if TYPE_CHECKING:
    from api.container import Container

db = typer.Typer(help="The database's schema.", no_args_is_help=True)


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
    """Print the revision of the schema. Exits with 1 if that is not the head."""

    async def run(container: "Container") -> tuple[str, bool]:
        database = container.database()
        status = await database.status()
        await database.stop()
        return f"{database.name}: {status}", status.at_head

    text, at_head = in_directory(run, database_url)
    typer.echo(text)
    raise typer.Exit(0 if at_head else 1)

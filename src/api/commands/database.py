"""`roster db`: the schema of the database."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands.console import DatabaseUrl, Json, in_directory, show
from domain.errors import NotReady
from domain.work import utc_now

if TYPE_CHECKING:
    from api.container import Container, Database

Ask = Annotated[bool, typer.Option(help="Ask before the upgrade of a schema that is there")]

db = typer.Typer(help="The database's schema.", no_args_is_help=True)


@db.command()
def upgrade(ask: Ask = False, database_url: DatabaseUrl = None) -> None:
    """Bring the schema to its head, in a new database too. Any number of processes may do so at once.

    A SQLite file is copied first, to roster.db.before-0002 or the like.
    """

    async def run(container: "Container") -> str:
        database = container.database()
        if ask:
            await confirm(database)
        upgrade = await database.upgrade()
        await database.stop()
        return f"{database.name}: {upgrade}."

    typer.echo(in_directory(run, database_url))


async def confirm(database: "Database") -> None:
    """Ask whether to go on, unless there is nothing to lose."""
    try:
        status = await database.status()
    except NotReady:  # which the upgrade raises as well, unless it creates the database
        return
    if status.is_behind:
        typer.echo(f"{database.name}: {status}", err=True)
        typer.confirm("Upgrade it now?", abort=True, err=True)


@db.command()
def status(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Print the revision of the schema. Exits with 1 if this Roster cannot use it."""

    async def run(container: "Container") -> dict[str, Any]:
        database = container.database()
        status = await database.status()
        await database.stop()
        return {
            "database": database.name,
            "revision": status.current,
            "head": status.head,
            "at_head": status.at_head,
            "is_usable": status.is_usable,
            "says": str(status),
        }

    found = in_directory(run, database_url)
    if json:
        show(found, as_json=True)
    else:
        typer.echo(f"{found['database']}: {found['says']}")
    raise typer.Exit(0 if found["is_usable"] else 1)


@db.command()
def epoch(database_url: DatabaseUrl = None) -> None:
    """Count on beyond all ids and sequence numbers that may have been given out.

    For a database that was restored by another program than roster restore, before a server uses it. Readers of the
    feed who have seen changes that are not in it get a 410 then.
    """

    async def run(container: "Container") -> str:
        database = container.database()
        start = await database.begin_epoch(utc_now())
        await database.stop()
        return f"{database.name}: new ids and changes continue from {start + 1}."

    typer.echo(in_directory(run, database_url))

"""`roster db`: the schema and the files of the database."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.commands.console import DatabaseUrl, Json, in_directory, show
from domain.errors import NotReady
from domain.work import utc_now

if TYPE_CHECKING:
    from api.container import Container, Database

MIB: Final = 1024 * 1024

Ask = Annotated[bool, typer.Option(help="Ask before an existing schema is upgraded")]

db = typer.Typer(help="The database: its schema and its files.", no_args_is_help=True)


@db.command()
def upgrade(ask: Ask = False, database_url: DatabaseUrl = None) -> None:
    """Upgrade the schema to the newest revision, or create it in a new database. Several processes may do this at once.

    A SQLite file is copied first, to a name such as roster.db.before-0002.
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
    """Ask whether to continue, unless there is no data."""
    try:
        status = await database.status()
    except NotReady:  # the upgrade raises this too, unless it creates the database
        return
    if status.is_behind:
        typer.echo(f"{database.name}: {status}", err=True)
        typer.confirm("Upgrade it now?", abort=True, err=True)


@db.command()
def status(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Print the revision of the schema. The exit code is 1 if this version of Roster cannot use it."""

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
    """Continue counting above all ids and sequence numbers that may have been used.

    Run this after a restore by another program than roster restore, before a server uses the database. Readers of the
    feed who have seen changes that are not in the database then get a 410.
    """

    async def run(container: "Container") -> str:
        database = container.database()
        start = await database.begin_epoch(utc_now())
        await database.stop()
        return f"{database.name}: new ids and changes continue from {start + 1}."

    typer.echo(in_directory(run, database_url))


@db.command()
def vacuum(database_url: DatabaseUrl = None) -> None:
    """Rewrite a SQLite file, so that nothing of erased people is left in it, and unused space is given back.

    A server does this by itself for files of up to 48 MiB. No server may run meanwhile. The disk needs room for two
    more copies of the file. It takes about ten seconds for each GiB. On PostgreSQL autovacuum does this.
    """

    async def run(container: "Container") -> str:
        database = container.database()
        sizes = await database.vacuum()
        await database.stop()
        return f"{database.name}: rewritten, {sizes.before / MIB:,.1f} MiB before, {sizes.after / MIB:,.1f} MiB now."

    typer.echo(in_directory(run, database_url))

"""`roster copy`."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.console import container_with, fail, run_in, settings_from
from api.commands.progress import showing
from domain.copies import Comparison, Finished, Progress
from domain.errors import NotReady

if TYPE_CHECKING:
    from api.container import Container

Source = Annotated[str, typer.Argument(help="The URL of the directory to copy", show_default=False)]
Target = Annotated[str, typer.Argument(help="The URL of an empty database, or of a new file", show_default=False)]
Live = Annotated[bool, typer.Option("--live", help="Allow a server to write to the source during the copy, to try it")]


def copy(source: Source, target: Target, *, live: Live = False) -> None:
    """Copy a directory to another database: from SQLite to PostgreSQL, or back. Nothing is changed in the source.

    Every table is copied unchanged, with ids, versions, keys and the record of changes. Then the copy is read again,
    and a line for each table compares the number of rows and a checksum. If the copy is interrupted, run it again: it
    continues where it stopped. The exit code is 0 if both are the same, 1 if they differ, and 2 if the copy did not
    finish.

    Stop the server of the source first. With --live it may run, but what it writes after the start of the copy is not
    in the target. If the URL has no password, PostgreSQL's driver reads it from PGPASSWORD or ~/.pgpass.
    """
    container, database = directory("SOURCE", source), directory("TARGET", target).database()

    async def run(container: "Container") -> Finished | None:
        with showing() as show:
            async with aclosing(container.copies(database, live=live).steps()) as steps:
                async for step in steps:
                    match step:
                        case Progress():
                            show(step.done, step.done / step.of, f"{step.doing} {step.table}")
                        case Comparison():
                            typer.echo(line_of(step))
                        case Finished():
                            return step
        return None

    typer.echo(f"roster: {container.database().name} to {database.name}", err=True)
    finished = run_in(container, run)
    if finished is None:
        typer.echo("roster: the target differs from the source, and cannot be served. Run this again.", err=True)
        raise typer.Exit(1)
    typer.echo(f"roster: {summary(finished)}", err=True)


def directory(argument: str, url: str) -> "Container":
    container = container_with(settings_from(database_url=url, replica_url=""))
    try:
        container.database()
    except NotReady as error:
        fail(f"{argument}: {error}")
    return container


def line_of(one: Comparison) -> str:
    said = f"{one.table:<20}{one.source.rows:>15,} rows  {one.source.checksum}  "
    return said + ("same" if one.is_same else f"DIFFERS: {one.target.rows:,} rows  {one.target.checksum}")


def summary(finished: Finished) -> str:
    if finished.start is None:
        return "copied. Both are the same: serve the target, and no longer the source."
    return (
        f"copied up to change {finished.last_change}. Later changes of the source are not in the target, "
        f"where new ids and changes continue from {finished.start + 1}."
    )

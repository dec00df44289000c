"""`roster backup` and `roster restore`."""

import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.commands.console import DatabaseUrl, duration, fail, in_directory
from domain.work import utc_now

if TYPE_CHECKING:
    from api.container import Container

NAME: Final = re.compile(r"roster-\d{8}T\d{6}\d{3}Z\.db")
MOST: Final = 10_000

To = Annotated[Path, typer.Argument(help="The new file; with --every a folder", resolve_path=True, show_default=False)]
Every = Annotated[str | None, typer.Option(help="Make a backup repeatedly, after each such time: 30m, 1h or 1d")]
Keep = Annotated[int, typer.Option(help="With --every: how many of the newest backups to keep", min=1, max=MOST)]
From = Annotated[Path, typer.Argument(help="The backup", resolve_path=True, show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask")]


def backup(to: To, every: Every = None, keep: Keep = 24, database_url: DatabaseUrl = None) -> None:
    """Copy the directory, even while a server writes to it. The copy is checked.

    With --every, copies are named by their time, and the oldest ones are removed. On PostgreSQL this prints the command
    to run instead.
    """
    if every is None:
        typer.echo(backed_up(to, database_url))
        return
    pause_s = duration(every).total_seconds()
    if not to.is_dir():
        fail(f"{to} is not a folder.")
    signal.signal(signal.SIGTERM, end)
    typer.echo(back_up_in(to, keep, database_url))
    while True:
        time.sleep(pause_s)
        try:
            typer.echo(back_up_in(to, keep, database_url))
        except typer.Exit:  # the reason was printed. A full disk may have room the next time
            continue


def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(0)


def back_up_in(folder: Path, keep: int, database_url: str | None) -> str:
    """Make a backup in the folder, then remove the oldest ones. So a failed backup removes no good one."""
    now = datetime.now(UTC)
    done = backed_up(folder / f"roster-{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z.db", database_url)
    for file in sorted(file for file in folder.iterdir() if NAME.fullmatch(file.name))[:-keep]:
        file.unlink()
        done += f"\nremoved {file}"
    return done


def backed_up(to: Path, database_url: str | None) -> str:
    async def run(container: "Container") -> str:
        return str(await container.database().backup(to))

    return in_directory(run, database_url)


def restore(backup: From, yes: Yes = False, database_url: DatabaseUrl = None) -> None:
    """Replace the directory by a backup. No server may run meanwhile. The previous file is kept.

    Ids and sequence numbers that were used since the backup are not used again. On PostgreSQL this prints the command
    to run instead.
    """

    async def run(container: "Container") -> str:
        database = container.database()
        if not yes:
            typer.confirm(f"Replace {database.name} by {backup}?", abort=True, err=True)
        return str(await database.restore(backup, utc_now()))

    typer.echo(in_directory(run, database_url))

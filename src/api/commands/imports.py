"""`roster import`."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Annotated, BinaryIO

import typer

from api.commands.console import DatabaseUrl, fail, in_service_of, lawful
from api.commands.import_output import Teller, telling
from api.files import reports
from api.files.reading import BY_SUFFIX, Format, rows_in
from domain.imports import Counts, FileKey, Match, Mode, Options
from services.imports.runs import Import
from services.imports.service import ImportService

Source = Annotated[str, typer.Argument(metavar="FILE", help="The file, or - for standard input", show_default=False)]
FileFormat = Annotated[
    Format | None,
    typer.Option("--format", help="The format. The default is taken from the name or the beginning of the file"),
]
ModeOption = Annotated[
    Mode,
    typer.Option(
        "--mode",
        help=(
            "create: every row is new. upsert: a row changes the user that it matches, or is new. sync: the same, "
            "then users who have the identifier and are not in the file are deleted"
        ),
    ),
]
MatchOption = Annotated[
    str, typer.Option("--match", help="How users are matched: external-id, email or username", metavar="IDENTIFIER")
]
Atomic = Annotated[bool, typer.Option("--atomic", help="Store all rows or none")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Store nothing, and print what would change in each row")]
MaxDelete = Annotated[str, typer.Option("--max-delete", help="How many users a sync may delete: 50, or 10%")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="A column of a CSV and its field: E-Mail=email. Notes= leaves the column out"),
]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="A file for the line numbers of rejected rows and the reasons")
]
Again = Annotated[bool, typer.Option("--again", help="Import the file from the start, even if it was imported today")]
Json = Annotated[bool, typer.Option("--json", help="Print the result of each row, as NDJSON")]


def import_file(
    file: Source,
    *,
    format: FileFormat = None,
    mode: ModeOption = Mode.CREATE,
    match: MatchOption = "external-id",
    atomic: Atomic = False,
    dry_run: DryRun = False,
    max_delete: MaxDelete = "10%",
    map: Map = None,
    errors: Errors = None,
    again: Again = False,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Import users, groups and memberships from an NDJSON or CSV file. A server may run meanwhile.

    A row that breaks a rule is rejected, and the others are stored. If the import is interrupted, run it again: it
    continues where it stopped. The exit code is 0 if all rows were imported, 1 if some were rejected, and 2 if the
    import did not finish.
    """
    if (by := match.replace("-", "_")) not in list(Match):
        fail("match: Must be external-id, email or username.")
    if (share := reports.share_in(max_delete)) is None:
        fail("max-delete: Must be a number, or a number and a percent sign.")
    named = [column_in(text) for text in map or ()]
    with opened(file) as content:
        rows = lawful(lambda: rows_in(content, format or BY_SUFFIX.get(Path(file).suffix.lower()), named))
        key = None if again or mode is not Mode.CREATE else key_of(content, by, named)
        options = Options(mode=mode, match=Match(by), atomic=atomic, max_delete=share, key=key)
        size = content.seek(0, os.SEEK_END)
        with telling(errors, lambda: rows.position / max(size, 1), each_row=json or dry_run, as_json=json) as tell:
            counts = in_service_of(
                lambda container: container.imports,
                lambda service: run(Import(service, rows, options), service, tell, dry_run=dry_run),
                database_url,
            )
    raise typer.Exit(1 if counts.rejected else 0)


async def run(one: Import, service: ImportService, tell: Teller, *, dry_run: bool) -> Counts:
    service.context.dry_run = dry_run
    gc.freeze()  # a full collection during the import does not look at what the start has loaded
    async with aclosing(one.steps()) as steps:
        async for step in steps:
            tell(step, one.counts)
    return one.counts


def column_in(text: str) -> tuple[str, str]:
    name, equals, field = text.partition("=")
    if not (name and equals):
        fail("map: Write COLUMN=FIELD, or COLUMN= to leave it out.")
    return name, field


def key_of(content: BinaryIO, *options: object) -> FileKey:
    """The key of this import of this file, so that it can be continued. Other modes than `create` need none."""
    digest = sha256(repr(options).encode())
    content.seek(0)
    while piece := content.read(1024 * 1024):
        digest.update(piece)
    return FileKey(f"roster import {digest.hexdigest()}", digest.hexdigest())


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """The file. Standard input is copied to a temporary file, so that it can be read twice."""
    if file == "-":
        with TemporaryFile() as kept:
            copyfileobj(sys.stdin.buffer, kept)
            yield kept
        return
    try:
        found = Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.")
    with found:
        yield found

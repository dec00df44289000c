"""`roster export`."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from api.commands.console import DatabaseUrl, fail, in_service_of, lawful
from api.files.reading import Format
from api.files.writing import csv_lines, write_csv, write_ndjson
from domain.entities import profile_of
from domain.imports import Kind
from domain.lists.terms import parse_filter
from domain.users import FIELDS, NewUser
from services.exports import ExportService

COLUMNS: Final = ("kind", *profile_of(NewUser), "groups", "description", "group", "child")
"""The columns of a CSV with everything. A row has values only in the columns of its kind."""

FilterText = Annotated[str | None, typer.Option("--filter", help="Only users that match, as in GET /users/")]
FileFormat = Annotated[Format, typer.Option("--format", help="One JSON object on each line, or a CSV table")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file to write, which is replaced. The default is standard output"),
]


def export(
    filter: FilterText = None,
    format: FileFormat = Format.NDJSON,
    output: Output = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write all groups, users and memberships as they are at one moment, in the form that `roster import` reads.

    With a filter, write only the users that match, without their groups. Each row has all fields that have a value,
    including the record of SCIM. It has no ids, versions and times. Deleted users and groups are left out. In CSV, a
    cell that a spreadsheet would run as a formula begins with an additional apostrophe.
    """
    wanted = None if filter is None else lawful(lambda: parse_filter(filter, FIELDS))
    columns = COLUMNS if wanted is None else tuple(profile_of(NewUser))
    write = write_csv if format is Format.CSV else write_ndjson

    async def run(service: ExportService) -> Counter[str]:
        count: Counter[str] = Counter()
        with opened(output) as file:
            if format is Format.CSV:
                file.write(csv_lines([columns]))
            async for rows in service.everything() if wanted is None else service.users(wanted):
                file.write(write(rows, columns))
                count.update(str(row.get("kind", Kind.USER)) for row in rows)
        return count

    try:
        count = in_service_of(lambda container: container.exports, run, database_url)
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python prints an error when it exits
        return
    except OSError as error:
        fail(f"{output or 'standard output'} cannot be written: {error.strerror}.")
    groups = f"{count[Kind.GROUP]:,} groups, " if count[Kind.GROUP] else ""
    typer.echo(f"roster: {groups}{count[Kind.USER]:,} users", err=True)


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a private file, which gets its name when it is complete."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)

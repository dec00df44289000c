"""`roster export`."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from api.commands.console import DatabaseUrl, in_service_of, lawful, refuse
from api.files.reading import Format
from api.files.writing import csv_lines, write_csv, write_ndjson
from domain.entities import profile_of
from domain.lists.terms import parse_filter
from domain.users import FIELDS, NewUser, User
from services.users import UserService

FilterText = Annotated[str | None, typer.Option("--filter", help="Only users that match, as in GET /users/")]
FileFormat = Annotated[Format, typer.Option("--format", help="One JSON object a line, or a table")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file, which is replaced; standard output without it")
]


def export(
    filter: FilterText = None,
    format: FileFormat = Format.NDJSON,
    output: Output = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write the users that are not deleted, as they were at one moment.

    Each line has what is set of a user, with the record of SCIM: ids, versions and times are not in it. In CSV a cell
    that a spreadsheet would run as a formula begins with an apostrophe, one more than the value has.
    """
    wanted = None if filter is None else lawful(lambda: parse_filter(filter, FIELDS))
    columns = tuple(profile_of(NewUser))
    write = write_csv if format is Format.CSV else write_ndjson

    async def run(service: UserService) -> int:
        count = 0
        with opened(output) as file:
            if format is Format.CSV:
                file.write(csv_lines([columns]))
            async for page in service.export(filter=wanted):
                file.write(write(map(profile, page.items), columns))
                count += len(page.items)
        return count

    try:
        count = in_service_of(lambda container: container.users, run, database_url)
    except BrokenPipeError:  # who reads it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
        return
    except OSError as error:
        refuse(f"{output or 'standard output'} cannot be written: {error.strerror}.")
    typer.echo(f"roster: {count} users", err=True)


def profile(user: User) -> Mapping[str, Any]:
    """What a client may set, as far as it is set."""
    defaults = profile_of(NewUser)
    return {name: value for name, each in defaults.items() if (value := getattr(user, name)) != each.default}


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a private file that gets its name when it is complete."""
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

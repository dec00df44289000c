"""The output of an import: its progress, the result of rows, and rejected rows."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import typer

from api.commands.console import fail, readable
from api.commands.progress import showing
from api.files import reports
from domain.imports import Counts, Done, Outcome
from services.imports.runs import Step

Teller = Callable[[Step, Counts], None]
Share = Callable[[], float]
"""Returns the part of the file that was read, from 0 to 1."""

SHOWN: Final = 10
"""How many rejected rows are shown if they are not written to a file."""

SAID_OF: Final = (Done.CREATED, Done.UPDATED, Done.UNCHANGED, Done.DELETED, Done.REJECTED, Done.WITHHELD)


@contextmanager
def telling(errors: Path | None, share: Share, *, each_row: bool, as_json: bool) -> Iterator[Teller]:
    """Prints the progress of an import after each step, and at the end its result."""
    rejected: list[Outcome] = []
    last: Counts | None = None
    with ExitStack() as stack:
        file = None if errors is None else stack.enter_context(private(errors))
        show = stack.enter_context(showing())

        def tell(step: Step, counts: Counts) -> None:
            nonlocal last
            last = counts
            bad = [each for each in step.outcomes if each.done is Done.REJECTED]
            if file is None:
                rejected.extend(bad[: SHOWN - len(rejected)])
            else:
                file.writelines(reports.as_line(reports.row(each)) for each in bad)
            if each_row:
                print_rows(step.outcomes, as_json=as_json)
            show(counts.rows, share(), f"{counts.rejected:,} rejected")

        try:
            yield tell
        finally:
            stack.close()
            for each in rejected:
                typer.echo(f"roster: {as_text(each)}", err=True)
            typer.echo(f"roster: {summary(last or Counts())}", err=True)


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """A file that only its owner can read. Reasons contain no values, but even the line of a person in a file is
    private."""
    try:
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.")
    with file:
        yield file


def print_rows(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.writelines(reports.as_line(reports.row(each)) for each in outcomes)
        sys.stdout.buffer.flush()
        return
    for each in outcomes:
        if each.done not in {Done.UNCHANGED, Done.REJECTED}:
            typer.echo(as_text(each))


def as_text(outcome: Outcome) -> str:
    """A row in one line: its line number, its result, and the fields that differ."""
    where = f"{outcome.kind} {outcome.id}" if outcome.line is None else f"line {outcome.line}"
    if outcome.done is Done.REJECTED:
        reasons = ((each.pointer.removeprefix("/"), each.detail) for each in outcome.faults)
        return f"{where}: {' '.join(f'{name}: {detail}' if name else detail for name, detail in reasons)}"
    before, after = outcome.difference()
    was, now = before or {}, after or {}
    fields = [f"{name} {shown(was.get(name))} → {shown(now.get(name))}" for name in now or was]
    groups = [f"joins {name}" for name in outcome.joined] + [f"leaves {name}" for name in outcome.left]
    return readable(f"{where}: {outcome.done} {outcome.kind}: {', '.join([*fields, *groups])}")


def shown(value: object) -> str:
    return "nothing" if value is None else repr(value)


def summary(counts: Counts) -> str:
    said = [f"{number:,} {done}" for done in SAID_OF if (number := getattr(counts, done))]
    again = f" ({counts.again:,} of them by an earlier run: --again imports them again)" if counts.again else ""
    return f"{counts.rows:,} rows{': ' if said else ''}{', '.join(said)}{again}"

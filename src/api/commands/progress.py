"""The progress of a command: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

Show = Callable[[int, float, str], None]
"""Takes the number of rows that are done, their share of all rows from 0 to 1, and a text with other facts."""

EVERY_S: Final = 5.0


@contextmanager
def showing() -> Iterator[Show]:
    if not sys.stderr.isatty():
        yield lines()
        return
    with bar() as shown:
        task = shown.add_task("", total=1, rows=0, rate=0, rest="")
        started = time.monotonic()

        def show(rows: int, share: float, rest: str) -> None:
            rate = rows / max(time.monotonic() - started, 0.001)
            shown.update(task, completed=share, rows=rows, rate=rate, rest=rest)

        yield show


def lines() -> Show:
    started = told_at = time.monotonic()

    def show(rows: int, share: float, rest: str) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= EVERY_S:
            told_at = now
            typer.echo(f"roster: {rows:,} rows, {share:.0%}, {rows / (now - started):,.0f} rows/s, {rest}", err=True)

    return show


def bar() -> "Progress":
    from rich.console import Console  # noqa: PLC0415  # importing it takes some time
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    rows = "{task.fields[rows]:,} rows  {task.fields[rate]:,.0f}/s  {task.fields[rest]}"
    columns = (BarColumn(), TaskProgressColumn(), TextColumn(rows), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))

"""What the commands can be told."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from bench.contenders import ROOT
from bench.databases import POSTGRESQL, SQLITE

RESULTS: Final = ROOT / "bench" / "results"


def add_common(parser: ArgumentParser, *, rounds: int, seconds: int) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how many, {rounds} by default")
    parser.add_argument("--seconds", type=int, default=seconds, help=f"per measurement, {seconds} by default")
    add_output(parser, "both")


def add_output(parser: ArgumentParser, database: str) -> None:
    parser.add_argument("--database", choices=[SQLITE, POSTGRESQL, "both"], default=database)
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder for what was measured, as JSON")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")


def databases_asked_for(options: Namespace) -> list[str]:
    return [SQLITE, POSTGRESQL] if options.database == "both" else [options.database]


def several(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """Some of what is allowed, with commas between them, in the order of what is allowed."""
    known = list(allowed)

    def read(text: str) -> list[str]:
        asked = text.split(",")
        if unknown := [each for each in asked if each not in known]:
            raise ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return [each for each in known if each in asked]

    return read

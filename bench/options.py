"""The options of the commands."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from bench.contenders import ROOT
from bench.databases import POSTGRESQL, SQLITE

RESULTS: Final = ROOT / "bench" / "results"


def add_common(parser: ArgumentParser, *, rounds: int, seconds: int) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help=f"number of rounds, {rounds} by default")
    parser.add_argument(
        "--seconds", type=int, default=seconds, help=f"seconds for each measurement, {seconds} by default"
    )
    add_output(parser, "both")


def add_output(parser: ArgumentParser, database: str) -> None:
    parser.add_argument("--database", choices=[SQLITE, POSTGRESQL, "both"], default=database)
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder for the results, as JSON")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/performance.md")


def databases_asked_for(options: Namespace) -> list[str]:
    return [SQLITE, POSTGRESQL] if options.database == "both" else [options.database]


def several(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """A type of argument: allowed values separated by commas, returned in the order of `allowed`."""
    known = list(allowed)

    def read(text: str) -> list[str]:
        asked = text.split(",")
        if unknown := [each for each in asked if each not in known]:
            raise ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return [each for each in known if each in asked]

    return read

"""`python -m bench`: compares Roster with other servers. Each round measures all of them, one after the other."""

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench import chart, tables
from bench.contenders import CONTENDERS, WITHOUT_DATABASE
from bench.databases import Databases, databases
from bench.figures import Cell, Figures, Sample, figures_of, shared
from bench.machine import machine, machine_table
from bench.measure import measure
from bench.operations import OPERATIONS, Turn, load_for, turns
from bench.options import add_common, databases_asked_for, several
from bench.results import read_machine, read_samples, write_chart, write_results, write_section
from bench.servers import Server, serving
from bench.users import load, probe
from bench.wrk import require_wrk


def declare(parser: ArgumentParser) -> None:
    add_common(parser, rounds=3, seconds=3)
    parser.add_argument("--users", type=int, default=1000, help="how many users each server has")
    parser.add_argument("--only", type=several(CONTENDERS), default=list(CONTENDERS), help=", ".join(CONTENDERS))
    parser.add_argument("--operations", type=several(OPERATIONS), default=list(OPERATIONS), help=", ".join(OPERATIONS))
    parser.add_argument("--from-results", action="store_true", help="do not measure, show the results of the last run")


def run(options: Namespace) -> int:
    samples = read_samples(options.output) if options.from_results else measured(options)
    figures = figures_of(samples)
    text = tables.comparison(figures)
    print(text)
    if options.write_docs:
        write_section("machine", machine_table(read_machine(options.output)))
        write_section("comparison", f"{chart.IMAGE}\n\n{text}")
        write_chart(chart.draw(figures))
    return complain(sample for sample in samples if sample.cell.contender == tables.SUBJECT) or uneven(figures)


def measured(options: Namespace) -> list[Sample]:
    require_wrk()
    samples: list[Sample] = []
    versions: list[str] = []
    for kind in databases_asked_for(options):
        with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder, databases(kind, Path(folder)) as fresh:
            done = shared(samples, WITHOUT_DATABASE, kind)
            names = [name for name in options.only if not done or name not in WITHOUT_DATABASE]
            samples += [*done, *measured_on(kind, names, fresh, Path(folder), options)]
            versions.append(fresh.version())
    write_results(options.output, samples, machine(versions), options)
    return samples


def measured_on(
    kind: str, names: Sequence[str], fresh: Databases, folder: Path, options: Namespace
) -> Iterator[Sample]:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(name, fresh.fresh(name), options.users, folder)) for name in names]
        for server in servers:
            get_ready(server, options.users)
        for turn in turns(options.operations, options.rounds):
            for server in servers:
                yield measured_in(turn, server, kind, folder, options)


def get_ready(server: Server, users: int) -> None:
    with server.client() as client:
        if server.name not in WITHOUT_DATABASE:
            load(client, server.recipe, users)
        probe(client, server.recipe, users)


def measured_in(turn: Turn, server: Server, kind: str, folder: Path, options: Namespace) -> Sample:
    cell = Cell(kind, server.name, turn.operation, turn.clients)
    wanted = load_for(turn.operation, server.recipe, options.users, folder / "paths.txt")
    sample = measure(server, wanted, cell, round=turn.round, seconds=options.seconds)
    say(sample)
    return sample


def say(sample: Sample) -> None:
    cell, errors = sample.cell, f"  ERRORS {dict(sample.errors)}" if sample.errors else ""
    print(
        f"{cell.database} round {sample.round + 1} {cell.operation} {cell.clients}: {cell.contender}"
        f" {sample.requests / sample.seconds:.0f}/s, {sample.cpu_us:.0f} µs{errors}",
        file=sys.stderr,
        flush=True,
    )


MOST_OF_THE_MEDIAN: Final = 5
"""In the mixed load, 99 of 100 requests to Roster take less than this many times the median."""


def uneven(figures: Figures) -> int:
    """Fail if some requests of the mixed load took much longer than the others."""
    mixed = {cell: each for cell, each in figures.items() if cell.operation == "mixed"}
    found = {cell: each.p99_us / each.p50_us for cell, each in mixed.items() if cell.contender == tables.SUBJECT}
    for cell, times in found.items():
        print(f"bench: {cell.database}, mixed: p99 is {times:.1f} times p50 (below {MOST_OF_THE_MEDIAN})")
    return 1 if any(times >= MOST_OF_THE_MEDIAN for times in found.values()) else 0


def complain(samples: Iterable[Sample]) -> int:
    """Fail if a request to Roster failed."""
    failed = [sample for sample in samples if sample.errors]
    for sample in failed:
        print(f"bench: Roster had errors: {sample.cell}: {dict(sample.errors)}", file=sys.stderr)
    return 1 if failed else 0

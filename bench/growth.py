"""`python -m bench growth`: how the cost of a request grows with the number of users, with one client."""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote, urlencode

from api.web.cursors import write_cursor
from bench.compare import complain, say
from bench.databases import Databases, databases
from bench.errors import BenchError
from bench.figures import Cell, Figures, Sample, databases_in, figures_of, ratio
from bench.filling import created_at, email_of, fill
from bench.machine import machine
from bench.measure import measure
from bench.options import add_common, databases_asked_for
from bench.results import read_samples, write_results, write_section
from bench.servers import Server, serving
from bench.tables import NONE, TITLES, milliseconds, table
from bench.users import PAGE
from bench.wrk import Load, require_wrk, write_paths

SIZES: Final = (1_000, 100_000, 1_000_000)
SPREAD: Final = 1000
DEPTH: Final = 0.9

chance: Final = Random(1)  # noqa: S311


def some(size: int) -> list[int]:
    return chance.choices(range(1, size + 1), k=SPREAD)


def get(size: int) -> list[str]:
    return [f"/users/{id}" for id in some(size)]


def find(size: int) -> list[str]:
    return [f"/users/by/email/{quote(email_of(id))}" for id in some(size)]


def first_page(size: int) -> list[str]:  # noqa: ARG001
    return [f"/users/?limit={PAGE}"]


def deep_page(size: int) -> list[str]:
    cursor = write_cursor((int(size * DEPTH),), "/users?")
    return [f"/users/?limit={PAGE}&cursor={cursor}"]


def filter_by_email(size: int) -> list[str]:
    return [filtered(f'email eq "{email_of(id)}"') for id in some(size)]


def filter_by_time(size: int) -> list[str]:
    """A filter for the time of one user up to the time of the hundredth user after it."""
    starts = chance.choices(range(1, size - PAGE), k=SPREAD)
    return [filtered(f'created_at ge "{at(id, size)}" and created_at lt "{at(id + PAGE, size)}"') for id in starts]


def at(id: int, size: int) -> str:
    return created_at(id, size).isoformat(timespec="microseconds")


def filtered(expression: str) -> str:
    return f"/users/?{urlencode({'filter': expression, 'limit': PAGE})}"


READS: Final[Mapping[str, Callable[[int], list[str]]]] = {
    "get by id": get,
    "get by e-mail": find,
    "first page of 100": first_page,
    "page of 100 at 90 % depth": deep_page,
    "filter: e-mail equals": filter_by_email,
    "filter: created between, 100 match": filter_by_time,
}
FOUND: Final = {"get by id": 1, "get by e-mail": 1, "filter: e-mail equals": 1}
"""How many users each of these finds, if it is not a full page."""

CREATE: Final = "create"
OPERATIONS: Final = (*READS, CREATE)
"""Creates are last, so that the reads see the stated number of users."""


def declare(parser: ArgumentParser) -> None:
    add_common(parser, rounds=5, seconds=2)
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=list(SIZES))
    parser.add_argument("--from-results", action="store_true", help="do not measure, show the results of the last run")


def run(options: Namespace) -> int:
    samples = read_samples(options.output, "growth") if options.from_results else measured(options)
    text = report(figures_of(samples))
    print(text)
    if options.write_docs:
        write_section("growth", text)
    return complain(samples)


def measured(options: Namespace) -> list[Sample]:
    require_wrk()
    samples: list[Sample] = []
    versions: list[str] = []
    for kind in databases_asked_for(options):
        with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder, databases(kind, Path(folder)) as fresh:
            samples += measured_on(kind, fresh, Path(folder), options)
            versions.append(fresh.version())
    write_results(options.output, samples, machine(versions), options, "growth")
    return samples


def measured_on(kind: str, fresh: Databases, folder: Path, options: Namespace) -> Iterator[Sample]:
    with ExitStack() as stack:
        servers = {size: stack.enter_context(filled(fresh, size, folder)) for size in options.sizes}
        for size, server in servers.items():
            probe(server, size)
        for operation in OPERATIONS:
            for number in range(options.rounds):
                for size, server in servers.items():
                    load = load_for(operation, size, folder / "paths.txt")
                    cell = Cell(kind, str(size), operation, 1)
                    sample = measure(server, load, cell, round=number, seconds=options.seconds)
                    say(sample)
                    yield sample


def filled(fresh: Databases, size: int, folder: Path) -> AbstractContextManager[Server]:
    url = fresh.fresh(f"growth-{size}")
    return serving("roster", url, size, folder, then=partial(fill, url, size))


def probe(server: Server, size: int) -> None:
    """Check that each read finds the expected users. wrk does not look at bodies."""
    with server.client() as client:
        for operation, paths in READS.items():
            answer = client.get(paths(size)[0])
            if not answer.is_success or found_in(answer.json()) != FOUND.get(operation, PAGE):
                raise BenchError(f"{operation}: {answer.status_code} {answer.text[:300]}")


def found_in(body: Any) -> int:
    return len(body) if isinstance(body, list) else 1


def load_for(operation: str, size: int, file: Path) -> Load:
    if operation == CREATE:
        return Load(write_paths(file, ["/users/1"]), share_of_creates=1)
    return Load(write_paths(file, READS[operation](size)))


def report(figures: Figures) -> str:
    return "\n\n".join(part for database in databases_in(figures) for part in on_database(figures, database))


def on_database(figures: Figures, database: str) -> list[str]:
    sizes = sorted({int(cell.contender) for cell in figures if cell.database == database})
    first, *more = sizes
    head = ["", f"CPU µs at {first:,}", *(f"times at {size:,}" for size in more)]
    head += [f"p50 ms at {first:,}", *(f"times at {size:,}" for size in more)]
    rows = [line(figures, database, operation, sizes) for operation in OPERATIONS]
    return [f"### {TITLES.get(database, database)}", table(head, rows)]


def line(figures: Figures, database: str, operation: str, sizes: Sequence[int]) -> list[str]:
    first, *more = [figures[Cell(database, str(size), operation, 1)] for size in sizes]
    return [
        operation,
        f"{first.cpu_us:,.0f}",
        *(times(each.cpu_us, first.cpu_us) for each in more),
        milliseconds(first.p50_us),
        *(times(each.p50_us, first.p50_us) for each in more),
    ]


def times(of: float, to: float) -> str:
    found = ratio(of, to)
    return NONE if found is None else f"{found:.2f}"

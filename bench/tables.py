"""Figures as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.figures import Cell, Figure, Figures, contenders_in, cpu_ratio, databases_in
from bench.operations import CLIENTS, OPERATIONS, clients_compared

TITLES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SUBJECT: Final = "roster"
FLOOR: Final = "floor"
NONE: Final = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. The first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison(figures: Figures) -> str:
    return "\n\n".join(part for database in databases_in(figures) for part in on_database(figures, database))


def on_database(figures: Figures, database: str) -> list[str]:
    title = TITLES.get(database, database)
    measured = [each for each in OPERATIONS if any(c.operation == each and c.database == database for c in figures)]
    return [
        f"### {title}",
        "CPU per request as a multiple of the floor's:",
        ratios(figures, database, measured, lambda name: (name, FLOOR)),
        "What Roster takes of the CPU that each of them takes (below 1, Roster takes less):",
        ratios(figures, database, measured, lambda name: (SUBJECT, name)),
        *(part for operation in measured for part in in_full(figures, database, operation)),
    ]


def ratios(figures: Figures, database: str, operations: Sequence[str], pair: Callable[[str], tuple[str, str]]) -> str:
    """One ratio of CPU per request for each server and operation."""

    def row(name: str) -> list[str]:
        of, to = pair(name)
        found = [
            cpu_ratio(figures, Cell(database, of, each, clients), Cell(database, to, each, clients))
            for each in operations
            for clients in [clients_compared(each)]
        ]
        return [emphasised(name), *(NONE if each is None else f"{each:.2f}" for each in found)]

    return table(["", *operations], [row(name) for name in contenders_in(figures, database)])


def in_full(figures: Figures, database: str, operation: str) -> list[str]:
    clients = [each for each in CLIENTS if Cell(database, any_in(figures, database), operation, each) in figures]
    rows = [full_row(figures, database, operation, name, clients) for name in contenders_in(figures, database)]
    at = ", ".join(map(str, clients))
    title = f"{TITLES.get(database, database)}, {OPERATIONS[operation]}; each cell at {at} clients:"
    return [title, table(["", "requests/s", "p50 ms", "p99 ms", "CPU µs per request", "errors"], rows)]


def any_in(figures: Figures, database: str) -> str:
    return contenders_in(figures, database)[0]


def full_row(figures: Figures, database: str, operation: str, name: str, clients: Sequence[int]) -> list[str]:
    found = [figures.get(Cell(database, name, operation, each)) for each in clients]
    return [
        emphasised(name),
        joined(found, lambda figure: f"{figure.requests_per_s:,.0f}"),
        joined(found, lambda figure: milliseconds(figure.p50_us)),
        joined(found, lambda figure: milliseconds(figure.p99_us)),
        joined(found, lambda figure: f"{figure.cpu_us:,.0f}"),
        joined(found, lambda figure: f"**{figure.errors}**" if figure.errors else "0"),
    ]


def joined(found: Sequence[Figure | None], show: Callable[[Figure], str]) -> str:
    return " / ".join(NONE if figure is None else show(figure) for figure in found)


def milliseconds(microseconds: float) -> str:
    """Milliseconds to three digits, with at most two after the point."""
    value = microseconds / 1000
    return f"{value:,.{min(2, max(0, 3 - len(str(int(value)))))}f}"


def emphasised(name: str) -> str:
    return f"**{name}**" if name == SUBJECT else name

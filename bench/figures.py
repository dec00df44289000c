"""Samples, their medians over the rounds, and ratios of medians."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured: a server, an operation, a number of clients, and a database."""

    database: str
    contender: str
    operation: str
    clients: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one round."""

    cell: Cell
    round: int
    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """CPU of the server per request in µs: user and system time of its whole process tree."""
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of each value over all rounds, and the sum of the errors."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    errors: int


Figures: TypeAlias = Mapping[Cell, Figure]


def figures_of(samples: Iterable[Sample]) -> Figures:
    by_cell: dict[Cell, list[Sample]] = {}
    for sample in samples:
        by_cell.setdefault(sample.cell, []).append(sample)
    return {cell: figure_of(rounds) for cell, rounds in by_cell.items()}


def figure_of(rounds: list[Sample]) -> Figure:
    return Figure(
        requests_per_s=median(each.requests / each.seconds for each in rounds),
        p50_us=median(each.p50_us for each in rounds),
        p99_us=median(each.p99_us for each in rounds),
        cpu_us=median(each.cpu_us for each in rounds),
        errors=sum(sum(each.errors.values()) for each in rounds),
    )


def ratio(of: float, to: float) -> float | None:
    """The ratio, or None if `to` is 0, which is less than one tick of the clock."""
    return of / to if to else None


def cpu_ratio(figures: Figures, of: Cell, to: Cell) -> float | None:
    """The ratio, or None if one of them was not measured."""
    one, other = figures.get(of), figures.get(to)
    return ratio(one.cpu_us, other.cpu_us) if one and other else None


def contenders_in(figures: Figures, database: str) -> list[str]:
    """The servers in the order in which they were measured."""
    return list(dict.fromkeys(cell.contender for cell in figures if cell.database == database))


def databases_in(figures: Figures) -> list[str]:
    return list(dict.fromkeys(cell.database for cell in figures))


def shared(samples: Iterable[Sample], names: frozenset[str], database: str) -> list[Sample]:
    """The samples of servers without a database, as samples of this database."""
    return [
        replace(sample, cell=replace(sample.cell, database=database))
        for sample in samples
        if sample.cell.contender in names
    ]

"""How many servers and connections directories of these sizes need: `python -m bench.scale 1000000 100000000`.

This is a model, not a measurement: replace the assumptions below by yours. docs/scale.md gives the source of each
figure.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400
GIB: Final = 2**30
SIZES: Final = (10**6, 10**8, 10**9)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The requests and their cost. Measured figures are first."""

    read_us: float = 450
    """CPU of Roster's process for a GET, in µs (docs/performance.md, PostgreSQL, 16 clients)."""

    write_us: float = 900
    """The same for a creation."""

    read_us_in_postgres: float = 150
    write_us_in_postgres: float = 600
    commits_per_s: float = 600
    """The rate that the lock that orders commits allows at a sync of 1 ms, for any number of writers."""

    bytes_per_user: float = 4_000
    """Estimated: a row of 400 bytes and its indexes, and ten changes of 300 bytes."""

    reads_per_user_per_day: float = 20
    writes_per_user_per_day: float = 0.05
    peak: float = 5
    """The load of the busiest second, divided by the mean load."""

    busy: float = 0.5
    """The share of a core that is used at the peak."""

    cores_of_postgres: int = 16
    """The cores of one database server."""

    pool_size: int = 10


@dataclass(frozen=True, slots=True)
class Need:
    users: int
    reads_per_s: float
    writes_per_s: float
    processes: int
    """Roster's processes. Each uses one core."""

    replicas: int
    connections: int
    """The maximum to the primary: if every replica is away, reads go to the primary too."""

    gib: float
    writers: float
    """The writes at the peak, divided by the commits that one primary can do. Above 1, one directory is not enough."""


def need_of(users: int, given: Assumptions) -> Need:
    per_second = users * given.peak / DAY_S
    reads, writes = per_second * given.reads_per_user_per_day, per_second * given.writes_per_user_per_day
    processes = math.ceil((reads * given.read_us + writes * given.write_us) / 1e6 / given.busy)
    in_postgres = (reads * given.read_us_in_postgres + writes * given.write_us_in_postgres) / 1e6 / given.busy
    return Need(
        users=users,
        reads_per_s=reads,
        writes_per_s=writes,
        processes=processes,
        replicas=max(0, math.ceil(in_postgres / given.cores_of_postgres) - 1),
        connections=processes * (2 * given.pool_size + 5),
        gib=users * given.bytes_per_user / GIB,
        writers=writes / given.commits_per_s,
    )


COLUMNS: Final = (
    "users", "reads/s", "writes/s", "Roster's processes", "replicas", "connections to the primary", "GiB",
    "writes, of what one primary commits",
)  # fmt: skip


def row(need: Need) -> tuple[str, ...]:
    counts = (need.processes, need.replicas, need.connections, need.gib)
    rates = (f"{need.reads_per_s:,.0f}", f"{need.writes_per_s:,.1f}")
    return (f"{need.users:,}", *rates, *(f"{each:,.0f}" for each in counts), f"{need.writers:.0%}")


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(sizes: list[int]) -> None:
    print(line(COLUMNS))
    print(line("---:" for _ in COLUMNS))
    for users in sizes:
        print(line(row(need_of(users, Assumptions()))))


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or list(SIZES))

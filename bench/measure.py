"""One measurement: the load on one server, and its cost to that server."""

import time
from typing import Final

from bench.figures import Cell, Sample
from bench.processes import cpu_seconds
from bench.servers import Server
from bench.wrk import Load, put_load

SETTLE_S: Final = 0.05
SETTLES: Final = 200
"""How often it is checked at most whether a server is still busy with the last requests."""


def measure(server: Server, load: Load, cell: Cell, *, round: int, seconds: int) -> Sample:
    prefix = f"{cell.operation}-{cell.clients}-{round}"
    before = cpu_seconds(server.pid)
    result = put_load(server.url, server.headers, load, clients=cell.clients, seconds=seconds, prefix=prefix)
    used = cpu_seconds(server.pid) - before
    settle(server)
    return Sample(
        cell=cell,
        round=round,
        requests=result.requests,
        seconds=result.seconds,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        cpu_us=used * 1e6 / max(result.requests, 1),
        errors=result.errors,
    )


def settle(server: Server) -> None:
    """Wait until the server has finished the last requests, so that it uses no CPU during the next measurement."""
    before = cpu_seconds(server.pid)
    for _ in range(SETTLES):
        time.sleep(SETTLE_S)
        after = cpu_seconds(server.pid)
        if after == before:
            return
        before = after

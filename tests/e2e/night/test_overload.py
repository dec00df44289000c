"""Ten times the capacity of a server, from 500 connections: it keeps its throughput, and refuses the rest."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.e2e.night.conftest import log, memory_of
from tests.e2e.night.load import Load, create, get, quantile, send

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

SECONDS: Final = 5
CLIENTS: Final = 500
TIMES: Final = 10
DONE: Final = {200, 201, 204}

ANSWER_WITHIN_S: Final = 3
LIVE_WITHIN_S: Final = 0.1
BACK_WITHIN_S: Final = 2
GOODPUT: Final = 0.8
MAY_GROW_BYTES: Final = 64 * 2**20
MIB: Final = 2**20
PROBE: Final = str(Path(__file__).with_name("probe.py"))
USERS: Final = 200


def writes(number: int) -> bytes:
    """Half of them can share a COMMIT, half cannot."""
    return create(number) if number % 2 else send("PATCH", f"/users/{number % USERS + 1}", {"name": f"N {number}"})


def mixed(number: int) -> bytes:
    """Reads of one, lists of a hundred, and writes."""
    match number % 10:
        case 0 | 1:
            return writes(number)
        case 2:
            return get("/users/?limit=100")
        case _:
            return get(f"/users/{number % USERS + 1}")


@asynccontextmanager
async def probed(host: str, port: int) -> AsyncIterator[list[float]]:
    """The seconds that each call of /health/live took during the block, available after it."""
    taken: list[float] = []
    probe = await asyncio.create_subprocess_exec(
        sys.executable, PROBE, host, str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    yield taken
    output, _ = await probe.communicate(b"")  # which ends its standard input
    taken += map(float, output.split())


@pytest.mark.parametrize("make", [writes, mixed])
async def test_an_overloaded_server_keeps_its_throughput_and_refuses_the_rest(
    database_url: str, make: Callable[[int], bytes], serve: "Run"
) -> None:
    server: Roster = await serve(database_url, log_level="info")
    host, port = await server.address()
    await Load(host, port, create, first=10**6).for_requests(USERS)
    normal = await Load(host, port, make, clients=1).for_seconds(2)
    peak = await Load(host, port, make, clients=16, first=10**4).for_seconds(SECONDS)
    best = rate(peak)
    memory = memory_of(server)
    async with probed(host, port) as live:
        load = await Load(host, port, make, clients=CLIENTS, pace_s=CLIENTS / (best * TIMES), first=10**5).for_seconds(
            SECONDS
        )
    grown = memory_of(server) - memory
    await asyncio.sleep(BACK_WITHIN_S)
    after = await Load(host, port, make, clients=1, first=10**7).for_seconds(1)

    seconds = [each.seconds for each in load.answers]
    refusals = [each for each in load.answers if each.status not in DONE]
    p50s = [quantile([each.seconds for each in one.answers], 0.5) * 1000 for one in (normal, after)]
    log.info(
        "%s, %s: peak %.0f/s; of %d clients %.0f/s were done (%.0f %%), %.0f/s refused %s; answers p50 %.2f, p99 %.2f, "
        "longest %.2f s; live p99 %.0f ms, longest %.0f ms; %+.0f MiB; one client p50 %.1f ms before, %.1f ms after",
        database_url.partition(":")[0], make.__name__, best, CLIENTS, rate(load), 100 * rate(load) / best,
        len(refusals) / SECONDS, dict(Counter((each.status, each.code) for each in refusals)),
        quantile(seconds, 0.5), quantile(seconds, 0.99), max(seconds), quantile(live, 0.99) * 1000, max(live) * 1000,
        grown / MIB, *p50s,
    )  # fmt: skip
    assert {each.status for each in refusals} <= {503}
    assert all(b"retry-after: " in each.head for each in refusals)
    assert max(seconds) <= ANSWER_WITHIN_S
    assert rate(load) >= GOODPUT * best
    assert quantile(live, 0.99) <= LIVE_WITHIN_S
    assert grown <= MAY_GROW_BYTES
    assert p50s[1] <= 3 * p50s[0]
    assert await server.stop() == 0


def rate(load: Load) -> float:
    return sum(load.statuses[status] for status in DONE) / SECONDS

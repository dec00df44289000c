"""The clock of the server's machine jumps: order and uniqueness do not depend on it, and expiry follows it.

libfaketime (Debian's package faketime) stands between the server and its clock. Time that is measured, as for time
limits, is not changed, as on a real machine.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from httpx2 import AsyncClient, Response
from tests.clusters import Cluster, postgres_binaries
from tests.conftest import database_for_tests
from tests.e2e.night.conftest import log
from tests.e2e.night.load import Load, create

from api.randomness import random_characters
from domain.keys import FIRST_ID, write_secret

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

HOUR: Final = 3600
DAY: Final = 24 * HOUR
JUMPS: Final = (HOUR, -HOUR, 400 * DAY, 0, -3 * DAY, 10, -10, 0)
"""The offset of the clock, in seconds."""

ADMIN: Final = write_secret(FIRST_ID, random_characters())


class Clock:
    """The clock of a process, as its environment gives it."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.put(0)
        self.variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def put(self, seconds: float) -> None:
        """It is written in one step, since the server may read the file at any moment."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self._file)


@pytest.fixture
def library() -> Path:
    named = os.environ.get("ROSTER_TEST_FAKETIME")
    found = [Path(named)] if named else sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("no libfaketime: apt-get install faketime")
    return found[0]


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> Clock:
    return Clock(library, tmp_path / "clock")


@pytest.fixture
async def server(clock: Clock, database_url: str, run: "Run") -> "Roster":
    roster: Roster = await run(
        "serve", "--port", "0", variables=clock.variables, database_url=database_url, bootstrap_key=ADMIN
    )
    await roster.url()
    return roster


@pytest.fixture
async def api(server: "Roster") -> Any:
    async with AsyncClient(
        base_url=await server.url(), headers={"Authorization": f"Bearer {ADMIN}"}, timeout=120
    ) as client:
        yield client


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)


async def test_order_and_uniqueness_do_not_depend_on_the_clock(
    server: "Roster", clock: Clock, api: AsyncClient, database_url: str
) -> None:
    def keyed(number: int) -> bytes:
        return create(number).replace(b"\r\n", f"\r\nAuthorization: Bearer {ADMIN}\r\n".encode(), 1)

    async with Load(*await server.address(), keyed).running() as load:
        for jump in JUMPS:
            await asyncio.to_thread(clock.put, jump)
            await load.more(100)
    assert set(load.statuses) == {201}

    changes = await feed(api)
    created = [change for change in changes if change["kind"] == "user"]
    ids = [change["entity_id"] for change in created]
    times = [datetime.fromisoformat(change["at"]) for change in created]
    backwards = sum(after < before for before, after in pairwise(times))
    log.info("%s: %d creations, the clock went back %d times", database_url.partition(":")[0], len(ids), backwards)
    assert ids == sorted(set(ids))
    assert [change["seq"] for change in changes] == sorted({change["seq"] for change in changes})
    assert len(ids) == load.statuses[201]
    assert backwards >= sum(b < a for a, b in pairwise(JUMPS))
    assert max(times) - min(times) > timedelta(days=400)


async def feed(api: AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := (
        await api.get("/changes/", params={"since": found[-1]["seq"] if found else 0, "limit": 1000})
    ).json():
        found += page
    return found


async def test_expiry_follows_the_clock(clock: Clock, api: AsyncClient) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await api.post("/keys/", json={"name": "guest", "scopes": ["users:read"], "expires_at": soon})
    guest = {"Authorization": f"Bearer {made.json()['secret']}"}

    async def answers(status: int) -> bool:
        return (await api.get("/users/", headers=guest)).status_code == status

    assert await answers(200)
    clock.put(2 * HOUR)
    await until(lambda: answers(401))
    clock.put(0)
    await until(lambda: answers(200))


async def test_an_answer_is_stored_for_a_day_of_the_clock(clock: Clock, api: AsyncClient) -> None:
    async def create_once() -> int:
        answer = await api.post("/users/", json={"name": "Alice"}, headers={"Idempotency-Key": "alice-alice"})
        return int(answer.json()["id"])

    first = await create_once()
    for jump in (-2 * DAY, 23 * HOUR, 0):
        clock.put(jump)
        assert await create_once() == first
    clock.put(25 * HOUR)
    assert await create_once() > first


async def test_a_wait_for_changes_ends_although_the_clock_was_set_back(clock: Clock, api: AsyncClient) -> None:
    last = (await api.post("/users/", json={"name": "Alice"})).headers["roster-seq"]
    waiting = asyncio.create_task(api.get("/changes/", params={"since": last, "wait": 2}))
    await asyncio.sleep(0.2)
    clock.put(-30 * DAY)
    async with asyncio.timeout(30):
        assert (await waiting).json() == []
    waiting = asyncio.create_task(api.get("/changes/", params={"since": last, "wait": 30}))
    await asyncio.sleep(0.2)
    clock.put(30 * DAY)
    bob = await api.post("/users/", json={"name": "Bob"})
    assert [change["entity_id"] for change in (await waiting).json()] == [bob.json()["id"]]


@pytest.fixture
def postgres_with_a_clock(library: Path) -> Iterator[tuple[Cluster, Clock]]:
    """A PostgreSQL server whose clock can be put."""
    with tempfile.TemporaryDirectory(prefix="roster-night-") as folder:
        clock = Clock(library, Path(folder) / "clock")
        cluster = Cluster(postgres_binaries(), Path(folder), variables=clock.variables)
        cluster.make()
        cluster.start()
        yield cluster, clock
        cluster.stop()


async def test_nothing_depends_on_the_clock_of_postgres(
    postgres_with_a_clock: tuple[Cluster, Clock], run: "Run"
) -> None:
    """The machine of the database may have another time than the server. Only the server's time counts."""
    cluster, clock = postgres_with_a_clock
    await database_for_tests(cluster.url).upgrade()
    roster: Roster = await run("serve", "--port", "0", database_url=cluster.url)
    began = datetime.now(UTC)
    async with AsyncClient(base_url=await roster.url(), timeout=120) as api, database_of(cluster) as database:

        async def create_once() -> Response:
            return await api.post("/users/", json={"name": "Alice"}, headers={"Idempotency-Key": "alice-alice"})

        alice = (await create_once()).json()["id"]
        async with Load(*await roster.address(), create).running() as load:
            for jump in JUMPS:
                await asyncio.to_thread(clock.put, jump)
                shown = await database.fetchval("SELECT clock_timestamp()")
                assert abs(shown - datetime.now(UTC) - timedelta(seconds=jump)) < timedelta(minutes=5)
                await load.more(100)
                assert (await create_once()).json()["id"] == alice
        last = (await api.post("/users/", json={"name": "Bob"})).headers["roster-seq"]
        waiting = asyncio.create_task(api.get("/changes/", params={"since": last, "wait": 1}))
        clock.put(-30 * DAY)
        async with asyncio.timeout(30):
            assert (await waiting).json() == []
        changes = await feed(api)
    assert set(load.statuses) == {201}

    ids = [change["entity_id"] for change in changes]
    times = [datetime.fromisoformat(change["at"]) for change in changes]
    assert [change["seq"] for change in changes] == sorted({change["seq"] for change in changes})
    assert len(ids) == len(set(ids))
    assert began <= min(times) <= max(times) <= datetime.now(UTC)
    assert roster.complained == []
    assert await roster.stop() == 0
    log.info("postgresql's own clock: %d creations, put %d times", len(ids), len(JUMPS))


@asynccontextmanager
async def database_of(cluster: Cluster) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(cluster.url)
    try:
        yield connection
    finally:
        await connection.close()

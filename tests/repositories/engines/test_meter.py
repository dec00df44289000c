"""What the databases measure: how long calls took, how long they waited, and how many connections are in use."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import sqlalchemy as sa

from domain.errors import Busy
from domain.limits import LIMITS
from repositories.engines.database import Database, database_at
from repositories.engines.postgres.database import PostgresDatabase

ONE: Final = sa.select(sa.literal(1))
BROKEN: Final[sa.Select[Any]] = sa.select(sa.column("nothing"))


class Notes:
    """A meter that keeps each measurement."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.waits: list[tuple[str, float]] = []
        self.held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}
        self.alarms: dict[str, bool] = {}
        self._news = asyncio.Event()

    def took(self, kind: str, seconds: float, error: BaseException | None = None) -> None:
        self.times.append((kind, seconds))

    def failed(self, error: BaseException) -> None: ...

    def alarm(self, code: str, *, on: bool) -> None:
        self.alarms[code] = on

    def read_from(self, place: str) -> None: ...

    def behind(self, replica: str, seconds: float) -> None: ...

    def waited(self, pool: str, seconds: float) -> None:
        self.waits.append((pool, seconds))

    def in_use(self, pool: str, change: int) -> None:
        self.held[pool] += change
        self.most[pool] = max(self.most[pool], self.held[pool])
        self._news.set()

    async def holds(self, pool: str, connections: int) -> None:
        """Returns when so many are in use."""
        async with asyncio.timeout(10):
            while self.held[pool] < connections:
                self._news.clear()
                await self._news.wait()

    def size(self, pool: str, connections: int) -> None:
        self.sizes[pool] = connections

    def log(self, size: Callable[[], int]) -> None:
        self.log_bytes = size

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.times]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def metered(url: str, notes: Notes) -> AsyncIterator[Database]:
    """Each engine in turn, with two connections to read on PostgreSQL."""
    database = database_at(url, serving=True, pool_size=2, pool_timeout_s=5, meter=notes)
    await database.start()
    notes.waits.clear()  # a start reads the schema
    yield database
    await database.stop()


async def test_reads_and_scans_are_measured_separately(metered: Database, notes: Notes) -> None:
    await metered.reader.fetch(ONE)
    await metered.scans.fetch(ONE)

    assert notes.kinds == ["read", "scan"]
    assert all(0 < seconds < 5 for _, seconds in notes.times)
    assert notes.most["read"] == 1
    assert notes.held.total() == 0


async def test_running_reads_count_as_in_use(metered: Database, notes: Notes) -> None:
    for _ in range(2):  # the connections are made the first time, one after the other perhaps
        await asyncio.gather(*(metered.reader.fetch(ONE) for _ in range(2)))

    assert notes.most["read"] == 2
    assert notes.held["read"] == 0


async def test_a_read_that_fails_is_measured_too(metered: Database, notes: Notes) -> None:
    for executor in (metered.reader, metered.scans):
        with pytest.raises(Exception, match="nothing"):
            await executor.fetch(BROKEN)

    assert notes.kinds == ["read", "scan"]
    assert notes.held["read"] == 0


async def test_a_cancelled_read_no_longer_counts_as_in_use(metered: Database, notes: Notes) -> None:
    reading = asyncio.create_task(metered.reader.fetch(ONE))
    await notes.holds("read", 1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert notes.held["read"] == 0
    assert notes.kinds == ["read"]


async def test_a_snapshot_counts_as_in_use_while_it_is_read(metered: Database, notes: Notes) -> None:
    async with metered.snapshot() as executor:
        await executor.fetch(ONE)
        assert notes.held["stream"] == 1

    assert notes.held["stream"] == 0
    assert notes.kinds == ["scan"]


async def test_the_number_of_snapshots_in_use_can_reach_the_limit(metered: Database, notes: Notes) -> None:
    async with AsyncExitStack() as streams:
        for _ in range(LIMITS.snapshots):
            await streams.enter_async_context(metered.snapshot())
        assert notes.held["stream"] == notes.sizes["stream"] == LIMITS.snapshots

    assert notes.held["stream"] == 0


async def test_a_transaction_counts_as_in_use_and_its_commit_is_measured_separately(
    metered: Database, notes: Notes
) -> None:
    async with metered.transaction() as executor:
        await executor.fetch(ONE)
        assert notes.held["write"] == 1
        await executor.commit()

    assert notes.kinds == ["write", "commit"]
    assert [pool for pool, _ in notes.waits] == ["write"]
    assert notes.held["write"] == 0


async def test_a_transaction_that_was_rolled_back_no_longer_counts_as_in_use(metered: Database, notes: Notes) -> None:
    with pytest.raises(Exception, match="nothing"):
        async with metered.transaction() as executor:
            await executor.fetch(BROKEN)

    assert notes.held["write"] == 0
    assert 1 <= notes.sizes["write"] <= 2


@pytest.fixture
async def small(postgres_url: str, notes: Notes) -> AsyncIterator[PostgresDatabase]:
    """Two connections to read."""
    database: Any = database_at(postgres_url, serving=True, pool_size=2, pool_timeout_s=5, meter=notes)
    await database.start()
    notes.waits.clear()  # a start reads the schema
    yield database
    await database.stop()


async def test_the_wait_for_a_connection_of_postgres_is_measured(small: PostgresDatabase, notes: Notes) -> None:
    await small.reader.fetch(ONE)
    async with small.snapshot():
        pass

    assert [pool for pool, _ in notes.waits] == ["read", "stream"]
    assert (notes.sizes["read"], notes.sizes["stream"]) == (2, LIMITS.snapshots)


async def test_a_wait_that_times_out_is_measured_and_holds_nothing(
    small: PostgresDatabase, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading: Any = small._reading
    async with reading.one(), reading.one():
        monkeypatch.setattr(reading, "timeout_s", 0.05)  # once both are held: to make one may take longer
        with pytest.raises(Busy):
            await small.reader.fetch(ONE)
        assert notes.waits[-1][1] >= 0.05
        assert notes.held["read"] == 2

    assert notes.held["read"] == 0
    assert notes.kinds == []

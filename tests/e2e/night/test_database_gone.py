"""PostgreSQL goes away under load and comes back: all answers are true, and Roster works again at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from tests.clusters import Cluster, pooled, through_pooler
from tests.conftest import create_postgres_database, database_for_tests
from tests.e2e.night.conftest import log
from tests.e2e.night.load import LOST, Answer, Load, mixed

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

POOL: Final = 5
AWAY_S: Final = 10
HELD_S: Final = 30
BACK_WITHIN_S: Final = 2
PROMISED: Final = {"busy", "database_unreachable", "uncertain"}
"""The codes of a 503 that a client may get."""


@pytest.fixture
async def url(cluster: Cluster) -> str:
    await create_postgres_database(cluster.url, "roster")
    url = cluster.url_of("roster")
    database = database_for_tests(url)
    await database.upgrade()
    await database.stop()
    return url


async def stopped(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.stop)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(cluster.start)


async def killed(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kill)
    await asyncio.to_thread(cluster.start)


async def reset(cluster: Cluster) -> None:
    """All connections are cut, ten times."""
    for _ in range(10):
        await ask(cluster.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'roster'")
        await asyncio.sleep(0.1)


async def locked(cluster: Cluster) -> None:
    """No change can be written. Reads still work."""
    connection = await asyncpg.connect(cluster.url_of("roster"))
    async with connection.transaction():
        await connection.execute("LOCK TABLE changes IN EXCLUSIVE MODE")
        await asyncio.sleep(HELD_S)
    await connection.close()


async def ask(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


@pytest.fixture
def through(url: str, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL that the server gets: straight to PostgreSQL, or through a pooler in session mode."""
    if request.param == "straight":
        yield url
    else:
        with pooled(cluster, "session") as folder:
            yield through_pooler(folder, "roster")


@pytest.mark.parametrize("through", ["straight", "pgbouncer"], indirect=True)
@pytest.mark.parametrize("happens", [stopped, killed, reset, locked])
async def test_postgres_goes_away_and_comes_back(
    happens: Callable[[Cluster], Any], cluster: Cluster, url: str, through: str, serve: "Run"
) -> None:
    server: Roster = await serve(through, pool_size=POOL)
    async with Load(*await server.address(), mixed).running() as load:
        await load.more(200)
        await happens(cluster)
        back = time.perf_counter()
        await load.more(200)
        while not any(each.at > back and each.status == 201 for each in load.answers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    first_s = min(each.at for each in load.answers if each.at > back and each.status == 201) - back
    refusals = [each for each in load.answers if each.status >= 500]
    codes = Counter(each.code for each in refusals)
    longest = max(each.seconds for each in load.answers)
    way = "" if through == url else " behind pgbouncer"
    figures = happens.__name__ + way, dict(load.statuses), dict(codes), longest, first_s
    log.info("%s: answers %s, refusals %s, the longest after %.1f s, first write after %.2f s", *figures)
    assert set(load.statuses) <= {200, 201, 404, 503}
    assert set(codes) <= PROMISED
    assert all((b"retry-after: " in each.head) == (each.code != "uncertain") for each in refusals)
    assert first_s <= BACK_WITHIN_S
    if happens is locked:
        assert {each.status for each in load.answers if each.number % 5} <= {200, 404}
    await require_true(url, load.answers)
    await require_no_leak(url)
    assert await server.stop() == 0
    assert [event for event in server.events if event["event"] == "failed"] == []


async def require_true(url: str, answers: Iterable[Answer]) -> None:
    """Acknowledged writes are stored, refused ones are not, and each user has its change."""
    sent = {f"e{each.number}": each for each in answers if each.number % 5 == 0}
    stored = {row["external_id"] for row in await ask(url, "SELECT external_id FROM users")}
    acknowledged = {key for key, each in sent.items() if each.status == 201}
    uncertain = {key for key, each in sent.items() if each.status == LOST or each.code == "uncertain"}
    assert acknowledged <= stored <= acknowledged | uncertain
    [[created]] = await ask(url, "SELECT count(*) FROM changes WHERE kind = 'user' AND action = 'created'")
    assert created == len(stored)


async def require_no_leak(url: str) -> None:
    query = "SELECT state FROM pg_stat_activity WHERE application_name = 'roster'"
    async with asyncio.timeout(30):
        while True:
            states = [row["state"] for row in await ask(url, query)]
            if set(states) <= {"idle"}:
                break
            await asyncio.sleep(0.1)
    assert len(states) <= 2 * POOL + 4

"""The primary dies under load, and its synchronous standby is promoted. Servers find it by the hosts in their URL.

No write that was acknowledged is lost; one that was refused was not done; one whose outcome is uncertain is found out
by its idempotency key. `make failover` does it twenty times.
"""

import asyncio
import itertools
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from tests.clusters import Cluster, postgres_binaries
from tests.conftest import create_postgres_database, database_for_tests
from tests.replicas.conftest import ask, until

from domain.errors import Refusal, Uncertain
from domain.idempotency import AlreadyDone, IdempotencyKey
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

log = logging.getLogger("failover")

KILLS: Final = int(os.environ.get("ROSTER_TEST_FAILOVERS", "2"))
CLIENTS: Final = 8
DATABASE: Final = "roster_failover"


class Servers:
    """A primary, and a standby without which the primary acknowledges nothing."""

    def __init__(self, primary: Cluster, standby: Cluster) -> None:
        self.primary = primary
        self.standby = standby
        self.url = f"postgresql://roster@/{DATABASE}?host={primary.socket},{standby.socket}"

    async def join(self) -> None:
        """Makes the standby from the data of the primary."""
        self.standby.clear()
        self.standby.copy_of(self.primary)
        self.standby.start()
        await ask(self.primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await ask(self.primary.url, "SELECT pg_reload_conf()")

        async def is_synchronous() -> bool:
            return bool(
                await ask(self.primary.url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
            )

        await until(is_synchronous)

    async def fail_over(self) -> None:
        self.primary.kill()
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary


@pytest.fixture
async def servers(postgres_cluster: Cluster) -> AsyncIterator[Servers]:
    await create_postgres_database(postgres_cluster.url, DATABASE)
    database = database_for_tests(postgres_cluster.url_of(DATABASE))
    await database.upgrade()
    await database.stop()
    binaries = postgres_binaries()
    with tempfile.TemporaryDirectory(prefix="roster-failover-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        one, two = (Cluster(binaries, Path(folder) / name) for name in ("one", "two"))
        one.copy_of(postgres_cluster, follows=False)
        one.start()
        servers = Servers(one, two)
        try:
            yield servers
        finally:
            servers.primary.stop()


class Clients:
    """Clients that create users all the time, half of them with idempotency keys, and note the answers."""

    def __init__(self, units: SqlUnitsOfWork) -> None:
        self.acknowledged: dict[str, int] = {}
        self.uncertain: set[str] = set()
        self.refused: set[str] = set()
        self._units = units
        self._numbers = itertools.count(1)

    async def create(self, name: str) -> User:
        key = IdempotencyKey(name, "f", lambda done: str(done.result.id)) if has_key(name) else None
        context = RequestContext(actor="client", request_id="r", idempotency_key=key)
        return (await UserService(self._units, context).create(NewUser(name=name))).result

    async def run(self) -> None:
        while True:
            name = f"user-{next(self._numbers)}"
            try:
                self.acknowledged[name] = (await self.create(name)).id
            except Uncertain:
                self.uncertain.add(name)
            except Refusal:
                self.refused.add(name)
                await asyncio.sleep(0.01)

    async def live_through(self, servers: Servers) -> float:
        """Continues while the primary dies. Returns how many seconds after the promotion a write was acknowledged."""
        await servers.join()
        load = asyncio.gather(*[self.run() for _ in range(CLIENTS)])
        await self.more(30)
        await servers.fail_over()
        promoted = time.monotonic()
        await self.more(1)
        away_s = time.monotonic() - promoted
        await self.more(30)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        return away_s

    async def more(self, number: int) -> None:
        """Returns when this many more creations were acknowledged."""
        wanted = len(self.acknowledged) + number

        async def are_there() -> bool:
            return len(self.acknowledged) >= wanted

        await until(are_there)

    async def find_out(self, name: str) -> bool:
        """Repeats a creation with its key. Returns whether it was carried out the first time."""
        try:
            await self.create(name)
        except AlreadyDone:
            return True
        return False


def has_key(name: str) -> bool:
    return int(name.rpartition("-")[2]) % 2 == 0


async def names_in(units: SqlUnitsOfWork) -> dict[int, str]:
    found: dict[int, str] = {}
    after = None
    while True:
        async with units.reading() as work:
            users = await work.users.list(after=after, limit=MAX_LIMIT)
        if not users:
            return found
        found |= {user.id: user.name for user in users}
        after = BY_ID.position(users[-1])


async def test_no_acknowledged_write_is_lost_when_the_primary_dies(servers: Servers) -> None:
    database = database_for_tests(servers.url)
    units = SqlUnitsOfWork(database)
    await units.start()
    clients = Clients(units)
    away_s = [await clients.live_through(servers) for _ in range(KILLS)]

    stored = await names_in(units)
    assert {id: name for name, id in clients.acknowledged.items()}.items() <= stored.items()
    assert not clients.refused & set(stored.values())
    for name in filter(has_key, clients.uncertain):
        assert await clients.find_out(name) is (name in stored.values())
    names = list((await names_in(units)).values())
    assert len(names) == len(set(names))
    await units.stop()
    figures = len(clients.acknowledged), len(clients.uncertain), len(clients.refused), max(away_s)
    log.info("acknowledged %d, lost 0, uncertain %d, refused %d; back after at most %.2f s", *figures)

"""Streaming replicas of PostgreSQL: how much each of them has, its lag, and whether it is alive.

All of this is measured by the number of the last change, which is also what readers ask for. The clocks of the servers
and their replication statistics are not used.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from logging import getLogger
from typing import Final, NamedTuple

import asyncpg

from domain.findings import Finding, Level
from repositories.engines.epochs import LAST_CHANGE
from repositories.engines.meter import Meter
from repositories.engines.postgres.errors import DRIVER_ERRORS
from repositories.engines.postgres.executors import ConnectionExecutor, PooledExecutor, snapshot_on
from repositories.engines.postgres.pools import Connections
from repositories.engines.postgres.servers import READ_ONLY, Server

LOOK_EVERY_S: Final = 0.25
"""How often each server is asked for its last change."""

ANSWER_WITHIN_S: Final = 0.7
"""A replica that does not answer in this time counts as dead. With the time between two looks, this is a second."""

SHOWN_S: Final = 600
"""The largest lag that can be measured, in seconds."""

IDENTITY: Final = "SELECT system_identifier, current_database() FROM pg_control_system()"

log = getLogger("roster")


class Identity(NamedTuple):
    """Identifies a directory. A replica has the identity of its primary, even after a failover."""

    cluster: int
    database: str


class AnotherDirectoryError(Exception):
    def __init__(self) -> None:
        super().__init__("it is not a replica of this database")


class Lookout:
    """Asks one server for its last change. It has its own connection, because all connections for requests may be in
    use."""

    def __init__(self, server: Server) -> None:
        self.identity: Identity | None = None
        self._server = server
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def last_change(self, wanted: Identity | None = None) -> int:
        """The number of the last change. Raises an error of the driver, a time-out, or `AnotherDirectoryError`."""
        try:
            if self._connection is None:
                self._connection = await self._server.connect()
                self.identity = Identity(*await self._ask(IDENTITY))
            self._require(wanted)
            (seq,) = await self._ask(LAST_CHANGE)
        except BaseException:
            self.close()
            raise
        return int(seq)

    def _require(self, wanted: Identity | None) -> None:
        if wanted not in {None, self.identity}:
            raise AnotherDirectoryError

    async def _ask(self, query: str) -> asyncpg.Record:
        assert self._connection is not None  # noqa: S101
        async with asyncio.timeout(ANSWER_WITHIN_S):
            (row,) = await self._connection.fetch(query)
        return row

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class Heads:
    """Recent observations of the primary: which change was its last one, and when."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def last(self) -> int:
        return self._seen[-1][1] if self._seen else 0

    def saw(self, seq: int, at: float) -> None:
        """Note the last change of the primary. `at` is the time at which the question was sent."""
        if self._seen and self._seen[-1][1] == seq:
            self._seen.pop()
        self._seen.append((at, seq))
        while self._seen[0][0] < at - self._kept_s:
            self._seen.popleft()

    def had_no_more_than(self, seq: int) -> float:
        """The latest time at which the primary is known to have had no change after this one."""
        return next((at for at, head in reversed(self._seen) if head <= seq), -math.inf)


class PostgresReplica:
    """One replica. It has pools only while it answers."""

    def __init__(self, server: Server, pool_size: int, meter: Meter) -> None:
        self.name = server.place
        self.seq = 0
        self.as_of = -math.inf
        """The replica has everything that the primary had at this time of `time.monotonic`."""

        self.is_well = False
        self._server = server
        self._pool_size = pool_size
        self._meter = meter
        self._lookout = Lookout(server)
        self._reading: Connections | None = None
        self._streaming: Connections | None = None
        self._is_suspect = asyncio.Event()
        self._reason = ""

    @property
    def reader(self) -> PooledExecutor:
        return PooledExecutor(opened(self._reading), "read")

    @property
    def scans(self) -> PooledExecutor:
        return PooledExecutor(opened(self._reading), "scan")

    def snapshot(self) -> AbstractAsyncContextManager[ConnectionExecutor]:
        return snapshot_on(opened(self._streaming), self._server.limits)

    def failed(self) -> None:
        self._meter.read_from("moved")
        self.is_well = False
        self._is_suspect.set()

    async def look(self, wanted: Identity, heads: Heads) -> None:
        """Ask the replica for its last change. Raises an error of the driver, a time-out, or
        `AnotherDirectoryError`."""
        self._is_suspect.clear()
        seq = await self._lookout.last_change(wanted)
        if self._reading is None:
            self._reading = await self._server.pool(
                "replica", READ_ONLY, self._meter, min_size=0, max_size=self._pool_size
            )
            snapshots = self._server.limits.snapshots
            self._streaming = await self._server.pool("replica", READ_ONLY, self._meter, min_size=0, max_size=snapshots)
            self._reason = ""
            log.info("replica answers", extra={"replica": self.name})
        self.seq, self.as_of = seq, heads.had_no_more_than(seq)
        self.is_well = True

    async def rest(self) -> None:
        """Wait until the next look. After a failed read it follows at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._is_suspect.wait()

    def lose(self, error: Exception) -> None:
        """Stop using the replica, because it does not answer. Statements that wait for it fail now, and run on the
        primary."""
        self.is_well = False
        if (reason := str(error) or type(error).__name__) != self._reason:
            self._reason = reason
            log.warning("replica does not answer", extra={"replica": self.name, "reason": reason})
        for connections in filter(None, (self._reading, self._streaming)):
            connections.cut()
        self._reading = self._streaming = None

    async def close(self) -> None:
        self.is_well = False
        self._lookout.close()
        await asyncio.gather(*[each.close() for each in (self._reading, self._streaming) if each is not None])
        self._reading = self._streaming = None


class PostgresReplicas:
    """All replicas that the operator has configured. Reads use them in turn."""

    def __init__(
        self, primary: Server, servers: Sequence[Server], *, lag_s: float, pool_size: int, meter: Meter
    ) -> None:
        self._primary = Lookout(primary)
        self._replicas = [PostgresReplica(server, pool_size, meter) for server in servers]
        self._servers = servers
        self._lag_s = lag_s
        self._meter = meter
        self._heads = Heads(max(lag_s, SHOWN_S))
        self._turn = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._size = len(servers) * (pool_size + primary.limits.snapshots)

    @property
    def head(self) -> int:
        return self._heads.last

    def having(self, seq: int) -> PostgresReplica | None:
        oldest = time.monotonic() - self._lag_s
        for _ in self._replicas:
            self._turn = (self._turn + 1) % len(self._replicas)
            replica = self._replicas[self._turn]
            if replica.is_well and replica.seq >= seq and replica.as_of >= oldest:
                self._meter.read_from("replica")
                return replica
        self._meter.read_from("primary")
        return None

    def start(self) -> None:
        self._meter.size("replica", self._size)
        watches = [self._watch_primary(), *[self._watch(replica) for replica in self._replicas]]
        self._tasks = [asyncio.create_task(each) for each in watches]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[replica.close() for replica in self._replicas])
        self._primary.close()

    async def _watch_primary(self) -> None:
        """Ask the primary for its last change. While it does not answer, the lag of all replicas grows."""
        while True:
            at = time.monotonic()
            with suppress(*DRIVER_ERRORS):
                self._heads.saw(await self._primary.last_change(), at)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _watch(self, replica: PostgresReplica) -> None:
        while True:
            if (wanted := self._primary.identity) is not None:
                try:
                    await replica.look(wanted, self._heads)
                except (*DRIVER_ERRORS, AnotherDirectoryError) as error:
                    replica.lose(error)
            self._meter.behind(replica.name, time.monotonic() - replica.as_of)
            await replica.rest()

    async def examine(self) -> Sequence[Finding]:
        """Examine the replicas for `roster doctor`. It works without `start`."""
        try:
            return [await self._examined(server) for server in self._servers]
        finally:
            self._primary.close()

    async def _examined(self, server: Server) -> Finding:
        what, lookout = f"replica {server.place}", Lookout(server)
        try:
            head = await self._primary.last_change()
            seq = await lookout.last_change(self._primary.identity)
        except AnotherDirectoryError as error:
            return Finding(what, Level.FAIL, str(error), "name a streaming replica of the same database")
        except DRIVER_ERRORS as error:
            fix = "start it, or take it out of ROSTER_REPLICA_URL"
            return Finding(what, Level.WARN, f"cannot be reached: {str(error) or type(error).__name__}", fix)
        finally:
            lookout.close()
        return Finding(what, Level.OK, f"has change {seq}, the primary had {head}")


def opened(connections: Connections | None) -> Connections:
    assert connections is not None, "the replica was not examined"  # noqa: S101
    return connections

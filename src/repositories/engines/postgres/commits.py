"""Group commit: creations that arrive during a commit share the next statement, and so the next COMMIT.

Commits that write changes run one after the other (`PostgresDatabase.commit_order`), and each waits for its disk sync.
A group is one statement in autocommit. An entity that cannot be added is left out of it, so that the others are not
undone.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from domain.errors import BrokenReference, Busy, Conflict
from repositories.engines.json_rows import ROWS, as_parameter
from repositories.engines.meter import timed
from repositories.engines.postgres.errors import never_sent, refusal_of_commit, translating_errors, was_never_sent
from repositories.engines.postgres.pools import cut
from repositories.engines.statements import Parameters, Prepared, Row, Rows

if TYPE_CHECKING:
    from repositories.engines.postgres.pools import Connection, Connections

HELD_S: Final = 0.1
"""Seconds for which groups may keep a connection while others wait for one."""

TOO_MANY: Final = "Too many writes are waiting. Try again shortly."

OF_ONE: Final = (asyncpg.PostgresError, Conflict, BrokenReference)
"""Errors that a single unit can cause. The server has then undone the whole statement. Other errors concern the whole
database."""


class Whole(NamedTuple):
    """A unit that consists of one statement, and the statement that does the same for several such units, as rows.

    Each row that the second statement returns begins with the number of a unit, from 1. Units without a row have to run
    alone.
    """

    alone: Prepared
    together: Prepared
    parameters: Parameters


class GroupCommits:
    """Runs whole units. Units with the same statement form groups."""

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self._sorts: dict[str, GroupCommit] = {}
        """The groups, by the text of the statement that they share."""

    async def run(self, unit: Whole) -> Rows:
        """Run a unit and commit it. Raises what the unit raises, and then nothing of it is stored, or the error of the
        COMMIT.

        If the task is cancelled, the unit either has not begun, or has ended when this raises: it was stored or undone.
        """
        sort = self._sorts.get(unit.together.sql)
        if sort is None:
            sort = self._sorts[unit.together.sql] = GroupCommit(self._connections, unit.together)
        return await sort.run(unit)


class GroupCommit:
    """Units with the same statement. One unit or one group runs at a time, while the next group gathers."""

    def __init__(self, connections: "Connections", together: Prepared) -> None:
        self._connections = connections
        self._together = together
        self._gathering: Group | None = None
        """The group that gathers now. None if no unit runs."""

        self._task: asyncio.Task[None] | None = None

    async def run(self, unit: Whole) -> Rows:
        if self._gathering is not None:
            row = await self._gathering.share(list(unit.parameters.values()))
            return [row] if row is not None else await self.run_alone(unit)
        self._gathering = Group(self._connections.timeout_s)
        try:
            return await self.run_alone(unit)
        finally:
            if self._gathering.is_empty:
                self._gathering = None
            else:
                self._task = asyncio.create_task(self._run_groups(self._gathering))

    async def run_alone(self, unit: Whole) -> Rows:
        async with self._connections.one() as connection:
            return await self._fetch(connection, unit.alone, unit.parameters)

    async def _run_groups(self, group: "Group") -> None:
        """Run groups, one after the other, until nobody waits. Several groups use the same connection: with many
        clients an iteration of the event loop takes milliseconds, and each iteration between two groups delays all of
        them."""
        following = group
        while not group.is_empty:
            try:
                async with self._connections.one() as connection:
                    until = time.perf_counter() + HELD_S
                    while time.perf_counter() < until and not group.is_empty:
                        following = self._gathering = Group(self._connections.timeout_s)
                        group.begin()
                        parameters = {ROWS: as_parameter(group.values)}
                        group.deliver(await self._fetch(connection, self._together, parameters))
                        group = following
            except (*OF_ONE, asyncio.CancelledError):  # cancelled if all tasks have left this group
                group.deliver(())
            except Exception as error:  # raised in all units of the group
                group.fail(error)
            group = following
        self._gathering = None

    async def _fetch(self, connection: "Connection", prepared: Prepared, parameters: Parameters) -> Rows:
        """Runs the statement in autocommit. It may commit at any moment, so its errors are treated like those of a
        COMMIT."""
        with timed(self._connections.meter, "write"), translating_errors(refusal_of_commit):
            try:
                rows = await connection.fetch(prepared.sql, *prepared.arguments(parameters))
            except asyncpg.InternalClientError as error:
                if not was_never_sent(error):
                    raise
                cut(connection)  # otherwise the next attempt may get it again
                raise never_sent() from error
        return prepared.read(rows)


class Group:
    """Units that wait for their shared statement."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._values: dict[asyncio.Future[Row | None], Sequence[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._over = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self._values

    @property
    def values(self) -> Iterable[Sequence[Any]]:
        return self._values.values()

    async def share(self, values: Sequence[Any]) -> Row | None:
        """Add a unit and wait for its row; None if the unit has to run alone. Raises the error of the group, and `Busy`
        after the time-out."""
        loop = asyncio.get_running_loop()
        if self.is_empty:
            self._timer = loop.call_later(self._patience_s, self.fail, Busy(TOO_MANY))
        result: asyncio.Future[Row | None] = loop.create_future()
        self._values[result] = values
        try:
            return await result
        except asyncio.CancelledError:
            await self._leave(result)
            raise

    def begin(self) -> None:
        """Note that the present task runs this group from now on."""
        assert self._timer is not None  # noqa: S101
        self._timer.cancel()
        self._task = asyncio.current_task()

    def deliver(self, rows: Rows) -> None:
        """Pass the rows to their units. Each row begins with the number of its unit."""
        found = {number: row for number, *row in rows}
        for number, result in enumerate(self._values, 1):
            if not result.done():
                result.set_result(found.get(number))
        self._over.set()

    def fail(self, error: Exception) -> None:
        for result in self._values:
            if not result.done():
                result.set_exception(error)
        self._values.clear()
        self._over.set()

    async def _leave(self, result: "asyncio.Future[Row | None]") -> None:
        """Wait until the unit has ended, however often the task is cancelled. If all tasks have left a group, it is
        undone."""
        if self._task is None:
            self._values.pop(result, None)
            return
        if not self._over.is_set() and all(each.cancelled() for each in self._values):
            self._task.cancel()
        while not self._over.is_set():
            with suppress(asyncio.CancelledError):
                await self._over.wait()

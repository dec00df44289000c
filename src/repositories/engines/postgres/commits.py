"""Creations in groups: those that come while one is committed share the next statement, and with it a COMMIT.

Commits that write changes come one after the other (`PostgresDatabase.commit_order`), each with its sync of the disk.
A group is one statement in autocommit. An entity that may not be added is left out of it: no other one is undone.
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
"""How long groups keep a connection, if others may wait for one."""

TOO_MANY: Final = "Too many writes are waiting. Try again shortly."

OF_ONE: Final = (asyncpg.PostgresError, Conflict, BrokenReference)
"""Errors that one unit brings upon a statement. The server has undone all of it. Others are of the whole database."""


class Whole(NamedTuple):
    """A unit that is one statement, and the statement that does the same for several of its sort, as rows.

    Each row that this one gives begins with the number of a unit, from 1. Units that have none are to run alone.
    """

    alone: Prepared
    together: Prepared
    parameters: Parameters


class GroupCommits:
    """Runs whole units, those of each sort in groups of their own."""

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self._sorts: dict[str, GroupCommit] = {}
        """By the text of the statement that they share."""

    async def run(self, unit: Whole) -> Rows:
        """Run it and commit. Raises what it raises, with nothing of it stored, or the error of the COMMIT.

        If the task is cancelled, the unit is not begun, or it is over when this raises: stored, or undone.
        """
        sort = self._sorts.get(unit.together.sql)
        if sort is None:
            sort = self._sorts[unit.together.sql] = GroupCommit(self._connections, unit.together)
        return await sort.run(unit)


class GroupCommit:
    """Units of one sort. One of them is under way at a time, or a group of them. The others gather meanwhile."""

    def __init__(self, connections: "Connections", together: Prepared) -> None:
        self._connections = connections
        self._together = together
        self._gathering: Group | None = None
        """None while none is under way."""

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
        """One after the other, until nobody waits. Several on one connection: with many clients a turn of the event
        loop takes milliseconds, and each that passes between two groups keeps all of them waiting."""
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
            except (*OF_ONE, asyncio.CancelledError):  # the latter if all have left this group
                group.deliver(())
            except Exception as error:  # raised by all whom it befell
                group.fail(error)
            group = following
        self._gathering = None

    async def _fetch(self, connection: "Connection", prepared: Prepared, parameters: Parameters) -> Rows:
        """In autocommit. While the statement is under way it may commit at any moment, so its errors are a COMMIT's."""
        with timed(self._connections.meter, "write"), translating_errors(refusal_of_commit):
            try:
                rows = await connection.fetch(prepared.sql, *prepared.arguments(parameters))
            except asyncpg.InternalClientError as error:
                if not was_never_sent(error):
                    raise
                cut(connection)  # else the next attempt may get it again
                raise never_sent() from error
        return prepared.read(rows)


class Group:
    """Units that wait for their statement, and then for its end."""

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
        """The row of this unit; None if it is to run alone. Raises what befell all, and `Busy` after the time-out."""
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
        """From now on this task carries them out."""
        assert self._timer is not None  # noqa: S101
        self._timer.cancel()
        self._task = asyncio.current_task()

    def deliver(self, rows: Rows) -> None:
        """Each row begins with the number of its unit."""
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
        """Returns when the unit is over, however often the task is cancelled. A group that all have left is undone."""
        if self._task is None:
            self._values.pop(result, None)
            return
        if not self._over.is_set() and all(each.cancelled() for each in self._values):
            self._task.cancel()
        while not self._over.is_set():
            with suppress(asyncio.CancelledError):
                await self._over.wait()

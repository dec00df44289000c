"""Group commit: small units that arrive during a COMMIT share the next one.

A COMMIT costs a sync of the disk. A trip to the driver's thread costs two waits for the interpreter lock (GIL). With
sixteen clients most units share both. Each unit has a savepoint, so that a refused unit is undone alone.

Nobody waits for what the deliverer of webhooks stores. So it waits for the next unit, and no request waits for a COMMIT
of its own.
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

from domain.errors import Busy, Refusal
from repositories.engines.alarms import ALARMS
from repositories.engines.meter import Meter
from repositories.engines.sqlite.connection import Connection, Job, Outcome, deliver_batch
from repositories.engines.sqlite.errors import refusal_of
from repositories.engines.sqlite.locks import TimedLock
from repositories.engines.sqlite.steps import Work, begin, run, undo

T = TypeVar("T")

WAITS_S: Final = 0.05
"""How long a unit that can wait does so, if no other unit comes."""


class GroupCommit:
    """Runs whole units on the writing connection. A group of units waits for its turn like any other writer."""

    def __init__(self, connection: Connection, lock: TimedLock, meter: Meter) -> None:
        self._connection = connection
        self._lock = lock
        self._meter = meter
        self._waiting: list[Job[Any]] = []
        self._can_wait: list[Job[Any]] = []
        self._end_of_wait: asyncio.TimerHandle | None = None
        self._committing: asyncio.Task[None] | None = None

    async def run(self, work: Work[T], *, can_wait: bool = False) -> T:
        """Run a unit and commit it. Raises what the unit raises, and then nothing of it is stored, or the error of the
        COMMIT. A unit that `can_wait` waits for another unit, for at most `WAITS_S`.

        If the task is cancelled, the unit either has not begun, or has ended when this raises: it was stored or
        refused.
        """
        job = Job(work)
        if can_wait:
            self._can_wait.append(job)
            if self._end_of_wait is None:
                self._end_of_wait = asyncio.get_running_loop().call_later(WAITS_S, self._wait_no_longer)
        else:
            self._waiting.append(job)
            self._begin()
        try:
            return await job.result
        except asyncio.CancelledError:
            for queue in (self._waiting, self._can_wait):
                if job in queue:
                    queue.remove(job)
                    raise
            await self._connection.wait_until_over(job)
            raise

    def _begin(self) -> None:
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())

    def _wait_no_longer(self) -> None:
        self._waiting += self._those_that_can_wait()
        self._begin()

    def _those_that_can_wait(self) -> Sequence[Job[Any]]:
        if self._end_of_wait is not None:
            self._end_of_wait.cancel()
            self._end_of_wait = None
        jobs, self._can_wait = self._can_wait, []
        return jobs

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await self._commit_group()
        finally:
            self._committing = None

    async def _commit_group(self) -> None:
        try:
            await self._lock.acquire()
        except Busy as refusal:
            deliver_batch(self._waiting, [(None, refusal)] * len(self._waiting))
            self._waiting.clear()
            return
        jobs, self._waiting = [*self._waiting, *self._those_that_can_wait()], []
        started = time.perf_counter()
        group = self._connection.submit(partial(commit_together, jobs))
        self._lock.release()  # the first job of the next writer is queued behind this one
        outcomes = await group.result
        self._meter.took("commit", time.perf_counter() - started, alarm_in(outcomes))
        deliver_batch(jobs, outcomes)

    async def stop(self) -> None:
        """Returns when no unit is running or waiting."""
        self._wait_no_longer()
        if self._committing is not None:
            await self._committing


def alarm_in(outcomes: Sequence[Outcome]) -> Refusal | None:
    """The first error that is an alarm for the operator. It may come from one unit, or may have ended all of them."""
    refusals = (refusal_of(error) for _, error in outcomes if isinstance(error, sqlite3.Error))
    return next((refusal for refusal in refusals if isinstance(refusal, ALARMS)), None)


def commit_together(jobs: Sequence[Job[Any]], connection: sqlite3.Connection) -> Sequence[Outcome]:
    """Run all units in one transaction, on the driver's thread. If the transaction fails, so does each unit that was
    not refused."""
    outcomes: list[Outcome] = [(None, None)] * len(jobs)
    try:
        begin(connection)
        for number, job in enumerate(jobs):
            outcomes[number] = in_savepoint(job, connection)
        run("COMMIT", connection)
    except sqlite3.Error as failure:
        return [outcome if outcome[1] else (None, failure) for outcome in outcomes]
    finally:
        undo(connection)
    return outcomes


def in_savepoint(job: Job[Any], connection: sqlite3.Connection) -> Outcome:
    """Run a unit in a savepoint. Raises an error that has undone the whole transaction, such as a full disk."""
    run("SAVEPOINT unit", connection)
    result, error = job.carry_out(connection)
    if error is not None and not connection.in_transaction:
        raise error
    if error is not None:
        run("ROLLBACK TO unit", connection)
    run("RELEASE unit", connection)
    return result, error

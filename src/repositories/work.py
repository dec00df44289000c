"""Units of work in SQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from domain.changes import Journal
from domain.work import Clock, Occasion, utc_now
from repositories.changes import SqlChanges, append
from repositories.database import Database
from repositories.lanes import SessionLane
from repositories.users import SqlReadUsers, SqlUsers

PAUSE_S: Final = 0.02
"""The longest wait before the second attempt; it doubles from one to the next."""


@dataclass(frozen=True, slots=True)
class SqlReadingUnit:
    """No transaction: each read is a statement of its own, on a lane that its database keeps for reading."""

    users: SqlReadUsers
    changes: SqlChanges


class SqlUnitOfWork:
    """One AsyncSession in one transaction, which begins with the first statement."""

    def __init__(self, database: Database, session: AsyncSession, occasion: Occasion, clock: Clock) -> None:
        self.now = clock()
        self._database = database
        self._session = session
        self._occasion = occasion
        self._journal = Journal()
        self._lane = SessionLane(session, database.refuse)
        self.users = SqlUsers(self._lane, self._journal, self.now)
        self.changes = SqlChanges(self._lane)

    async def commit(self) -> None:
        who = self._occasion
        changes = list(self._journal.changes(actor=who.actor, request_id=who.request_id, at=self.now))
        if changes and self._database.order_commits is not None:
            await self._lane.rows(self._database.order_commits)
        await append(self._lane, changes)
        if who.dry_run:
            await self._session.rollback()
        else:
            await self._commit()

    async def _commit(self) -> None:
        try:
            await self._session.commit()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise (self._database.refuse_commit(error) or error) from error


class SqlUnitsOfWork:
    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlReadingUnit]:
        lane = self._database.reader
        yield SqlReadingUnit(users=SqlReadUsers(lane, self._database.scans), changes=SqlChanges(lane))

    @asynccontextmanager
    async def writing(self, occasion: Occasion) -> AsyncIterator[SqlUnitOfWork]:
        async with self._database.session() as session:
            yield SqlUnitOfWork(self._database, session, occasion, self._clock)

    async def pause(self, attempt: int) -> None:
        await asyncio.sleep(random.uniform(0, PAUSE_S * 2**attempt))  # noqa: S311  # only spreads the load

"""On PostgreSQL transactions commit in any order. Changes have to appear in order: a follower keeps one number."""

import asyncio
from typing import Final

import pytest
import sqlalchemy as sa

from domain.errors import Conflict
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.postgres.database import PostgresDatabase
from repositories.work.units_of_work import SqlUnitOfWork, SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")


class Follower:
    """Reads the feed from the last number that it saw."""

    def __init__(self, units: SqlUnitsOfWork) -> None:
        self._units = units
        self.seen: list[int] = []

    async def read(self) -> list[int]:
        """The users of the new changes."""
        async with self._units.reading() as work:
            news = await work.changes.list(since=self.seen[-1] if self.seen else 0, limit=100)
        self.seen += [change.seq for change in news]
        return [change.entity_id for change in news]


class Numbered:
    """Holds a unit of work between the numbering of its changes and its COMMIT."""

    def __init__(self, work: SqlUnitOfWork) -> None:
        self.numbered = asyncio.Event()
        self.go_on = asyncio.Event()
        self._commit = work.unit.executor.commit
        work.unit.executor.commit = self._wait_and_commit  # type: ignore[method-assign]

    async def _wait_and_commit(self) -> None:
        self.numbered.set()
        await self.go_on.wait()
        await self._commit()


@pytest.mark.bound(20)
async def test_an_older_transaction_that_commits_later_is_not_missed(postgres: PostgresDatabase) -> None:
    units = SqlUnitsOfWork(postgres)
    users, follower = UserService(units, CONTEXT), Follower(units)
    async with units.writing(CONTEXT) as older:
        late = await older.users.add(NewUser(name="Late"))
        early = [(await users.create(NewUser(name="Early"))).result for _ in range(3)]
        assert await follower.read() == [user.id for user in early]
        assert await follower.read() == []
        await older.commit(None)
    assert late.id < early[0].id
    assert await follower.read() == [late.id]


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.bound(20)
async def test_a_newer_unit_waits_for_the_commit_of_an_older_one_with_lower_numbers(
    postgres: PostgresDatabase, each: int
) -> None:
    units = SqlUnitsOfWork(postgres)
    follower = Follower(units)
    async with units.writing(CONTEXT) as older, units.writing(CONTEXT) as newer:
        firsts, seconds = await add(older, each), await add(newer, each)
        held = Numbered(older)
        commits = [asyncio.create_task(older.commit(None))]
        await held.numbered.wait()
        commits.append(asyncio.create_task(newer.commit(None)))
        await seen_waiting_for_an_advisory_lock(postgres)
        assert await follower.read() == []
        held.go_on.set()
        of_older, of_newer = await asyncio.gather(*commits)
    assert await follower.read() == firsts + seconds
    assert [of_older.seq, of_newer.seq] == [follower.seen[each - 1], follower.seen[-1]]
    assert follower.seen == list(range(follower.seen[0], follower.seen[0] + 2 * each))


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.bound(20)
async def test_without_the_order_of_commits_a_follower_misses_changes(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    """The twin: the same two units and the same follower, without the lock."""
    monkeypatch.setattr(postgres, "commit_order", None)
    units = SqlUnitsOfWork(postgres)
    follower = Follower(units)
    async with units.writing(CONTEXT) as older, units.writing(CONTEXT) as newer:
        firsts, seconds = await add(older, each), await add(newer, each)
        held = Numbered(older)
        commit = asyncio.create_task(older.commit(None))
        await held.numbered.wait()
        await newer.commit(None)
        assert await follower.read() == seconds
        held.go_on.set()
        await commit
    assert await follower.read() == []
    async with units.reading() as work:
        assert [change.entity_id for change in await work.changes.list(limit=10)] == firsts + seconds


async def add(work: SqlUnitOfWork, users: int) -> list[int]:
    """Add so many users. Their changes are one statement, which numbers them."""
    return [(await work.users.add(NewUser(name=f"User {number}"))).id for number in range(users)]


@pytest.mark.bound(20)
async def test_a_follower_gets_the_changes_of_many_units_whole_and_in_order(postgres: PostgresDatabase) -> None:
    """The follower reads all the time while the units commit at once."""
    units = SqlUnitsOfWork(postgres)
    follower = Follower(units)
    written: list[list[int]] = []

    async def write(number: int) -> None:
        async with units.writing(CONTEXT) as work:
            if number == 1:
                written.append([(await work.commit_new(work.users, NewUser(name="Alone"))).result.id])
                return
            added = [(await work.users.add(NewUser(name=f"User {step}"))).id for step in range(number)]
            await work.commit(None)
        written.append(added)

    writers = [asyncio.create_task(write(1 + number % 4)) for number in range(40)]
    read: list[int] = []
    while not all(writer.done() for writer in writers):
        read += await follower.read()
    await asyncio.gather(*writers)
    while news := await follower.read():
        read += news
    assert len(read) == sum(map(len, written))
    for ids in written:
        start = read.index(ids[0])
        assert read[start : start + len(ids)] == ids


@pytest.mark.bound(20)
async def test_a_creation_in_one_statement_waits_for_the_commit_of_an_older_unit(
    postgres: PostgresDatabase,
) -> None:
    units = SqlUnitsOfWork(postgres)
    follower = Follower(units)
    async with units.writing(CONTEXT) as older:
        first = await older.users.add(NewUser(name="First"))
        held = Numbered(older)
        commit = asyncio.create_task(older.commit(None))
        await held.numbered.wait()
        alone = asyncio.create_task(UserService(units, CONTEXT).create(NewUser(name="Second")))
        await seen_waiting_for_an_advisory_lock(postgres)
        assert await follower.read() == []
        held.go_on.set()
        await commit
    second = (await alone).result
    assert await follower.read() == [first.id, second.id]


@pytest.mark.bound(20)
async def test_creations_that_wait_for_a_unique_value_do_not_block_the_commit_of_its_holder(
    postgres: PostgresDatabase,
) -> None:
    """Alone and in a group. If they held the lock that orders commits, both would wait for each other."""
    units = SqlUnitsOfWork(postgres)

    async def create(name: str) -> None:
        async with units.writing(CONTEXT) as work:
            await work.commit_new(work.users, NewUser(name=name, email=name))

    for names in (["Alone"], ["A", "In a group", "B"]):
        async with units.writing(CONTEXT) as older:
            await older.users.add(NewUser(name="First", email=names[len(names) // 2]))
            creations = [asyncio.create_task(create(name)) for name in names]
            await seen_waiting_for_a_row(postgres)
            await older.commit(None)
        outcomes = await asyncio.gather(*creations, return_exceptions=True)
        assert [type(each) for each in outcomes] == (
            [Conflict] if len(names) == 1 else [type(None), Conflict, type(None)]
        )


@pytest.mark.bound(20)
async def test_a_unit_that_rolls_back_after_numbering_leaves_a_gap_and_blocks_nobody(
    postgres: PostgresDatabase,
) -> None:
    units = SqlUnitsOfWork(postgres)
    users, follower = UserService(units, CONTEXT), Follower(units)
    dry = UserService(units, RequestContext(actor="tester", request_id="r2", dry_run=True))
    await users.create(NewUser(name="First"))
    await dry.create(NewUser(name="Nobody"))
    await users.create(NewUser(name="Second"))
    assert len(await follower.read()) == 2
    first, second = follower.seen
    assert second > first + 1


@pytest.mark.bound(20)
async def test_a_unit_without_changes_takes_no_lock(postgres: PostgresDatabase) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(CONTEXT) as older, units.writing(CONTEXT) as empty:
        await older.users.add(NewUser(name="First"))
        held = Numbered(older)
        commit = asyncio.create_task(older.commit(None))
        await held.numbered.wait()
        await empty.commit(None)
        held.go_on.set()
        await commit


async def seen_waiting_for_an_advisory_lock(postgres: PostgresDatabase) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    while await postgres.reader.fetch(waiting) == [(0,)]:
        pass


@pytest.mark.bound(20)
async def test_a_second_writer_of_a_user_waits_for_the_first(postgres: PostgresDatabase) -> None:
    units = SqlUnitsOfWork(postgres)
    users = UserService(units, CONTEXT)
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(CONTEXT) as first:
        seen = await first.users.get(alice.id)
        other = asyncio.ensure_future(users.patch(alice.id, {"attributes": {"other": True}}))
        await seen_waiting_for_a_row(postgres)
        await first.users.save(seen.revised(name="Alicia"))
        await first.commit(None)
    assert (await other).result.version == 3
    assert ((await users.get(alice.id)).name, (await users.get(alice.id)).attributes) == ("Alicia", {"other": True})


async def seen_waiting_for_a_row(postgres: PostgresDatabase) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype IN ('tuple', 'transactionid') AND NOT granted")
    while await postgres.reader.fetch(waiting) == [(0,)]:
        pass

"""Units that add one entity: on SQLite those that wait share a commit, and each is stored whole or not at all."""

import asyncio
import sqlite3
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import pytest
import sqlalchemy as sa
from tests.repositories.engines.test_cancellation import Halt, next_writer_proceeds

import repositories.engines.sqlite.commits
from domain.errors import Busy, Conflict, NoSpace, Refusal, Stale, Uncertain
from domain.idempotency import Committed
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.delivery.leases import BEAT, leases
from repositories.engines.database import Database
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.steps import run
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.bound(60)

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def users(sqlite: SqliteDatabase) -> UserService:
    return UserService(SqlUnitsOfWork(sqlite), CONTEXT)


async def what_is_there(database: Database) -> tuple[Sequence[str], Sequence[int]]:
    """The names of all users, and the user that each change created."""
    async with SqlUnitsOfWork(database).reading() as work:
        users = await work.users.list(limit=1000)
        changes = await work.changes.list(limit=1000)
        assert [change.entity_id for change in changes] == [user.id for user in users]
        return [user.name for user in users], [change.seq for change in changes]


class Held:
    """Holds the first COMMIT until the test releases it, and counts all of them."""

    def __init__(self, sqlite: SqliteDatabase) -> None:
        self.commits = 0
        self.halt = Halt(holds=True)
        self._writing = sqlite._writing

    async def hold(self) -> None:
        assert self._writing is not None
        await self._writing.set_trace_callback(self.trace)

    def trace(self, statement: str) -> None:
        if statement == "COMMIT":
            self.commits += 1
            self.halt()


@pytest.fixture
async def held(sqlite: SqliteDatabase) -> Held:
    held = Held(sqlite)
    await held.hold()
    return held


Creation = asyncio.Task[Committed[User]]


def create(users: UserService, name: str, **fields: Any) -> Creation:
    return asyncio.ensure_future(users.create(NewUser(name=name, **fields)))


async def create_behind(held: Held, users: UserService, *names: str) -> list[Creation]:
    """Returns when the first creation is in its COMMIT and the others wait."""
    first = create(users, names[0], email=names[0])
    await held.halt.reached.wait()
    others = [create(users, name, email=name) for name in names[1:]]
    for _ in range(5):
        await asyncio.sleep(0)
    return [first, *others]


async def test_creations_that_arrive_during_a_commit_share_the_next_one(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    creations = await create_behind(held, users, "a", "b", "c", "d")
    held.halt.go_on()
    committed = await asyncio.gather(*creations)
    assert held.commits == 2
    assert [(each.result.name, each.seq) for each in committed] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert await what_is_there(sqlite) == (["a", "b", "c", "d"], [1, 2, 3, 4])


async def write(sqlite: SqliteDatabase, *names: str, otherwise: Refusal | None = None, can_wait: bool = False) -> None:
    """A unit that only writes. With `otherwise` its last statement finds no row."""
    async with sqlite.transaction() as executor:
        executor.can_wait = can_wait
        for name in names:
            await executor.write(sa.insert(leases), {"name": name, "holder": "a", "beats": 1})
        if otherwise is not None:
            await executor.write(BEAT, {"lease": "nobody's", "by": "a"}, otherwise=otherwise)
        await executor.commit()


async def lease_names(sqlite: SqliteDatabase) -> list[str]:
    return [name for (name,) in await sqlite.reader.fetch(sa.select(leases.c.name).order_by(leases.c.name))]


async def test_a_unit_that_only_writes_shares_a_commit_with_others(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    creations = await create_behind(held, users, "a", "b")
    writes = asyncio.ensure_future(write(sqlite, "one", "two"))
    await asyncio.sleep(0)
    held.halt.go_on()
    await asyncio.gather(*creations, writes)
    assert held.commits == 2
    assert await lease_names(sqlite) == ["one", "two"]


@pytest.fixture
def waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.commits, "WAITS_S", 3600)


async def start_to_write(sqlite: SqliteDatabase, name: str) -> asyncio.Task[None]:
    """A unit that can wait, and does."""
    waiting = asyncio.ensure_future(write(sqlite, name, can_wait=True))
    for _ in range(5):
        await asyncio.sleep(0)
    return waiting


@pytest.mark.usefixtures("waits_for_ever")
async def test_a_unit_that_can_wait_shares_the_commit_of_the_next_one(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    waiting = await start_to_write(sqlite, "one")
    creation = create(users, "a")
    await held.halt.reached.wait()
    held.halt.go_on()
    await asyncio.gather(creation, waiting)
    assert held.commits == 1
    assert await lease_names(sqlite) == ["one"]


@pytest.mark.usefixtures("waits_for_ever")
async def test_a_unit_that_can_wait_does_not_start_a_group_during_a_commit(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    (creation,) = await create_behind(held, users, "a")
    waiting = await start_to_write(sqlite, "one")
    held.halt.go_on()
    await creation
    await users.create(NewUser(name="b"))
    await waiting
    assert held.commits == 2


async def test_a_unit_that_can_wait_waits_for_a_bounded_time(sqlite: SqliteDatabase) -> None:
    await write(sqlite, "one", can_wait=True)
    await write(sqlite, "two", can_wait=True)
    assert await lease_names(sqlite) == ["one", "two"]


@pytest.mark.usefixtures("waits_for_ever")
async def test_a_unit_that_waits_is_committed_before_the_database_is_closed(sqlite: SqliteDatabase) -> None:
    waiting = await start_to_write(sqlite, "one")
    await sqlite.stop()
    await waiting
    await sqlite.start()
    assert await lease_names(sqlite) == ["one"]


@pytest.mark.usefixtures("waits_for_ever")
async def test_a_unit_that_is_cancelled_while_it_waits_is_not_run(sqlite: SqliteDatabase, users: UserService) -> None:
    waiting = await start_to_write(sqlite, "one")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await users.create(NewUser(name="a"))
    assert await lease_names(sqlite) == []


async def test_a_write_that_finds_no_row_rolls_back_only_its_own_unit(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    creations = await create_behind(held, users, "a", "b")
    writes = asyncio.ensure_future(write(sqlite, "one", otherwise=Stale("Nobody has it.")))
    await asyncio.sleep(0)
    held.halt.go_on()
    await asyncio.gather(*creations)
    with pytest.raises(Stale):
        await writes
    assert await lease_names(sqlite) == []
    assert (await what_is_there(sqlite))[0] == ["a", "b"]


async def test_a_fetch_sees_earlier_writes_of_its_unit(sqlite: SqliteDatabase) -> None:
    async with sqlite.transaction() as executor:
        await executor.write(sa.insert(leases), {"name": "one", "holder": "a", "beats": 1})
        assert await executor.fetch(sa.select(leases.c.name)) == [("one",)]
        await executor.write(sa.insert(leases), {"name": "two", "holder": "a", "beats": 1})
        await executor.commit()
    assert await lease_names(sqlite) == ["one", "two"]


async def test_a_write_without_a_commit_is_not_stored(sqlite: SqliteDatabase) -> None:
    async with sqlite.transaction() as executor:
        await executor.write(sa.insert(leases), {"name": "one", "holder": "a", "beats": 1})
    async with sqlite.transaction() as executor:
        await executor.commit()
    assert await lease_names(sqlite) == []


async def test_a_refused_creation_is_rolled_back_alone(sqlite: SqliteDatabase, users: UserService, held: Held) -> None:
    creations = await create_behind(held, users, "a", "b", "a", "c")
    held.halt.go_on()
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed, Conflict, Committed]
    assert held.commits == 2
    assert (await what_is_there(sqlite))[0] == ["a", "b", "c"]


async def test_a_creation_cancelled_while_it_waits_is_not_begun(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    creations = await create_behind(held, users, "a", "b", "c")
    creations[1].cancel()
    await asyncio.gather(creations[1], return_exceptions=True)  # at once, though the commit before it is held
    held.halt.go_on()
    await asyncio.gather(*creations, return_exceptions=True)
    assert (await what_is_there(sqlite))[0] == ["a", "c"]


async def test_a_creation_cancelled_in_its_commit_does_not_disturb_the_others(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    creations = await create_behind(held, users, "a", "b")
    creations[0].cancel()
    await asyncio.sleep(0)
    assert not creations[0].done()  # nobody may believe it undone while it is not over
    held.halt.go_on()
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, Committed]
    assert (await what_is_there(sqlite))[0] == ["a", "b"]


@pytest.mark.parametrize(("name", "refusal"), [("SQLITE_IOERR_FSYNC", Uncertain), ("SQLITE_FULL", NoSpace)])
async def test_a_commit_that_fails_fails_all_of_its_group(
    *,
    sqlite: SqliteDatabase,
    users: UserService,
    held: Held,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    refusal: type[Refusal],
) -> None:
    creations = await create_behind(held, users, "a", "b", "a", "c")

    def failing(sql: str, connection: sqlite3.Connection) -> None:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("planted")
            error.sqlite_errorname = name
            raise error
        run(sql, connection)

    monkeypatch.setattr(repositories.engines.sqlite.commits, "run", failing)
    held.halt.go_on()
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Committed, refusal, Conflict, refusal]
    assert list(sqlite._meter._since) == ([NoSpace.code] if refusal is NoSpace else [])
    monkeypatch.undo()
    assert (await what_is_there(sqlite))[0] == ["a"]
    await next_writer_proceeds(sqlite)


async def test_an_error_that_rolls_back_the_transaction_fails_the_whole_group(
    sqlite: SqliteDatabase, users: UserService, held: Held
) -> None:
    """As some errors of a disk do. Without the check, later statements would be committed without the earlier ones."""
    creations = await create_behind(held, users, "a", "b", "c", "d")
    assert sqlite._writing is not None
    trigger = sa.text("CREATE TEMP TRIGGER undoes AFTER INSERT ON users WHEN new.name = 'c' "
                      "BEGIN SELECT raise(ROLLBACK, 'all of it'); END")  # fmt: skip
    sqlite._writing.submit(lambda connection: connection.execute(trigger.text).close())
    held.halt.go_on()
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert isinstance(outcomes[0], Committed)
    assert [isinstance(outcome, sqlite3.IntegrityError) for outcome in outcomes[1:]] == [True] * 3
    assert (await what_is_there(sqlite))[0] == ["a"]


async def test_creations_that_wait_too_long_are_busy_and_not_stored(upgraded_sqlite_url: str) -> None:
    from tests.repositories.engines.test_sqlite import database  # noqa: PLC0415

    impatient = database(upgraded_sqlite_url, pool_timeout_s=0.01)
    await impatient.start()
    users = UserService(SqlUnitsOfWork(impatient), CONTEXT)
    async with impatient.transaction() as holder:
        await holder.fetch(sa.select(sa.literal(1)))
        outcomes = await asyncio.gather(*[users.create(NewUser(name="a")) for _ in range(3)], return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Busy}
    await users.create(NewUser(name="b"))
    assert (await what_is_there(impatient))[0] == ["b"]
    await impatient.stop()


async def test_a_stop_waits_for_the_group_that_is_being_committed(
    sqlite: SqliteDatabase, users: UserService, held: Held, upgraded_sqlite_url: str
) -> None:
    creations = await create_behind(held, users, "a", "b")
    stop = asyncio.ensure_future(sqlite.stop())
    await asyncio.sleep(0)
    held.halt.go_on()
    await asyncio.gather(stop, *creations)
    await sqlite.start()
    assert (await what_is_there(sqlite))[0] == ["a", "b"]


@pytest.mark.parametrize("seed", range(3))
async def test_cancelling_half_of_many_creations_leaves_none_half_done(database: Database, seed: int) -> None:
    """They are cancelled while they wait, in their statements or in the commit. Two of five share a unique value."""
    random = Random(seed)
    users = UserService(SqlUnitsOfWork(database), CONTEXT)

    async def cancelled_at_random(number: int) -> Committed[User]:
        email = f"{random.randrange(20) if number % 5 < 2 else number + 100}@example.org"
        creation = create(users, str(number), email=email)
        if random.random() < 1 / 2:
            for _ in range(random.randrange(30)):
                await asyncio.sleep(0)
            creation.cancel()
        return await creation

    outcomes: list[Any] = []
    for start in range(0, 240, 40):
        batch = [cancelled_at_random(number) for number in range(start, start + 40)]
        outcomes += await asyncio.gather(*batch, return_exceptions=True)
    acknowledged = {outcome.result.id for outcome in outcomes if isinstance(outcome, Committed)}
    others = [outcome for outcome in outcomes if not isinstance(outcome, Committed)]
    async with SqlUnitsOfWork(database).reading() as work:
        there = {user.id for user in await work.users.list(limit=1000)}
    await what_is_there(database)
    assert acknowledged <= there
    assert len(there) < len(outcomes)
    assert {type(outcome) for outcome in others} == {asyncio.CancelledError, Conflict}
    assert not [outcome for outcome in others if not isinstance(outcome, Refusal | asyncio.CancelledError)]
    await next_writer_proceeds(database)

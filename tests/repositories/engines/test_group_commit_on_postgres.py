"""Units that add one entity: on PostgreSQL those that arrive during a commit share the next statement."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa
from tests.repositories.engines.test_cancellation import next_writer_proceeds
from tests.repositories.engines.test_group_commit import Creation, create, what_is_there
from tests.repositories.engines.test_postgres import database
from tests.repositories.work.test_feed_order import seen_waiting_for_an_advisory_lock

from domain.errors import Busy, Conflict, NoSpace, Refusal, Uncertain
from domain.idempotency import Committed
from domain.work import RequestContext
from repositories.engines.postgres.commits import Group
from repositories.engines.postgres.database import PostgresDatabase
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.bound(60)

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def users(postgres: PostgresDatabase) -> UserService:
    return UserService(SqlUnitsOfWork(postgres), CONTEXT)


class Held:
    """Holds the lock that orders commits. The first creation waits for it, and others arrive meanwhile."""

    def __init__(self, postgres: PostgresDatabase) -> None:
        self._postgres = postgres
        self._let_go = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None

    async def hold(self) -> None:
        held = asyncio.Event()

        async def hold() -> None:
            async with self._postgres.transaction() as executor:
                await executor.fetch(self._postgres.commit_order)
                held.set()
                await self._let_go.wait()

        self._holder = asyncio.create_task(hold())
        await held.wait()

    async def create_behind(self, users: UserService, *names: str) -> list[Creation]:
        """Returns when the first creation is in its statement and the others wait. Names are also the emails."""
        first = create(users, names[0], email=names[0])
        await seen_waiting_for_an_advisory_lock(self._postgres)
        others = [create(users, name, email=name) for name in names[1:]]
        while len(list(self.gathered.values)) < len(others):  # noqa: ASYNC110  # they tell nobody
            await asyncio.sleep(0)
        return [first, *others]

    @property
    def gathered(self) -> Group:
        assert self._postgres._commits is not None
        (sort,) = self._postgres._commits._sorts.values()
        assert sort._gathering is not None
        return sort._gathering

    async def let_go(self) -> None:
        self._let_go.set()
        if self._holder is not None:
            await self._holder


@pytest.fixture
async def held(postgres: PostgresDatabase) -> AsyncIterator[Held]:
    held = Held(postgres)
    await held.hold()
    yield held
    await held.let_go()


async def transactions(postgres: PostgresDatabase) -> Sequence[Sequence[str]]:
    """The names of all users, by the transaction that added them, in their order."""
    together = sa.text("SELECT array_agg(name ORDER BY id) FROM users GROUP BY xmin::text ORDER BY min(id)")
    return [names for (names,) in await postgres.reader.fetch(together)]


async def outcomes_of(creations: Sequence[Creation]) -> list[Any]:
    return await asyncio.gather(*creations, return_exceptions=True)


async def test_creations_that_arrive_during_a_commit_share_the_next_one(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations = await held.create_behind(users, "a", "b", "c", "d")
    await held.let_go()
    committed = await asyncio.gather(*creations)
    assert await transactions(postgres) == [["a"], ["b", "c", "d"]]
    assert [(each.result.name, each.seq) for each in committed] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert await what_is_there(postgres) == (["a", "b", "c", "d"], [1, 2, 3, 4])
    for each in committed:
        assert await users.get(each.result.id) == each.result


async def test_a_creation_in_a_group_stores_the_same_as_one_alone(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    whole: dict[str, Any] = {
        "username": "Änne",
        "external_id": 'it"s\\',
        "attributes": {"b": [1, 2.50, None, {"é": "\u2028"}], "a": 9007199254740991, "": "\x7f"},
    }
    creations = await held.create_behind(users, "a", "b")
    creations += [create(users, "c", **whole), create(users, "d", **{**whole, "username": "D", "external_id": "d"})]
    await held.let_go()
    alone = create(users, "e", **{**whole, "username": "E", "external_id": "e"})
    *_, c, d, e = await asyncio.gather(*creations, alone)
    assert [c.result.attributes, d.result.attributes] == [e.result.attributes] * 2
    stored = sa.text("SELECT attributes::text, username_key, created_at = updated_at FROM users WHERE name >= 'c'")
    rows = await postgres.reader.fetch(stored)
    assert {row[0] for row in rows} == {rows[0][0]}
    assert await users.get(c.result.id) == c.result
    changes = sa.text(
        "SELECT DISTINCT kind, version, action, actor, request_id, before::text, subjects::text FROM changes"
    )
    assert len(await postgres.reader.fetch(changes)) == 1


async def test_a_refused_creation_is_left_out_alone_and_leaves_no_gap_in_the_numbers(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations = await held.create_behind(users, "a", "b", "a", "c", "b", "d")
    await held.let_go()
    outcomes = await outcomes_of(creations)
    assert [type(each) for each in outcomes] == [Committed, Committed, Conflict, Committed, Conflict, Committed]
    assert outcomes[2].taken == {"email": outcomes[0].result.id}
    assert outcomes[4].taken == {"email": outcomes[1].result.id}
    assert await what_is_there(postgres) == (["a", "b", "c", "d"], [1, 2, 3, 4])
    assert await transactions(postgres) == [["a"], ["b", "c", "d"]]


FAULTY: Final = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN IF NEW.name = ''c'' THEN RAISE EXCEPTION ''planted''; END IF; RETURN NEW; END'
    """,
    "CREATE TRIGGER refuses BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse()",
)


@pytest.fixture
async def faulty(postgres_url: str) -> AsyncIterator[None]:
    """The database raises an unexpected error for a user with the name c."""
    connection = await asyncpg.connect(postgres_url)
    for statement in FAULTY:
        await connection.execute(statement)
    yield
    await connection.execute("DROP FUNCTION refuse CASCADE")
    await connection.close()


@pytest.mark.usefixtures("faulty")
async def test_a_creation_that_makes_the_statement_fail_fails_alone(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations = await held.create_behind(users, "a", "b", "c", "d")
    await held.let_go()
    outcomes = await outcomes_of(creations)
    assert [type(each) for each in outcomes] == [Committed, Committed, asyncpg.RaiseError, Committed]
    assert sorted((await what_is_there(postgres))[0]) == ["a", "b", "d"]


class Failing:
    """A connection whose statement fails."""

    def __init__(self, error: Exception, terminate: Callable[[], None]) -> None:
        self._error = error
        self.terminate = terminate

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        raise self._error


def fail_next(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The next statement of a group, or of a unit that is one statement, fails."""
    writing = postgres._writing
    assert writing is not None
    one = writing.one

    @asynccontextmanager
    async def failing() -> AsyncIterator[Any]:
        monkeypatch.setattr(writing, "one", one)
        async with one() as connection:
            yield Failing(error, connection.terminate)

    monkeypatch.setattr(writing, "one", failing)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (asyncpg.DiskFullError("planted"), NoSpace),
        (asyncpg.QueryCanceledError("planted"), Busy),
        (asyncpg.ConnectionDoesNotExistError("planted"), Uncertain),
        (TimeoutError(), Uncertain),
    ],
)
async def test_an_error_of_the_database_fails_the_whole_group(
    *,
    postgres: PostgresDatabase,
    users: UserService,
    held: Held,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    refusal: type[Refusal],
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    fail_next(postgres, monkeypatch, error)
    await held.let_go()
    outcomes = await outcomes_of(creations)
    assert [type(each) for each in outcomes] == [Committed, refusal, refusal]
    assert (await what_is_there(postgres))[0] == ["a"]
    await next_writer_proceeds(postgres)


async def test_a_group_that_gets_no_connection_is_refused_and_the_next_proceeds(
    postgres: PostgresDatabase, users: UserService, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    writing = postgres._writing
    assert writing is not None
    one = writing.one

    def none() -> None:
        monkeypatch.setattr(writing, "one", one)
        raise Busy("planted")

    monkeypatch.setattr(writing, "one", none)
    await held.let_go()
    outcomes = await outcomes_of(creations)
    assert [type(each) for each in outcomes] == [Committed, Busy, Busy]
    await next_writer_proceeds(postgres)
    assert (await what_is_there(postgres))[0] == ["a", "Next"]


@pytest.mark.parametrize(
    "error", [asyncpg.DeadlockDetectedError("planted"), asyncpg.InternalClientError("cannot switch to state 12")]
)
async def test_a_group_that_was_rolled_back_or_never_sent_is_retried(
    *, postgres: PostgresDatabase, users: UserService, held: Held, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    fail_next(postgres, monkeypatch, error)
    await held.let_go()
    await asyncio.gather(*creations)
    assert sorted((await what_is_there(postgres))[0]) == ["a", "b", "c"]


async def test_a_creation_cancelled_while_it_waits_is_not_begun(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    creations[1].cancel()
    await outcomes_of([creations[1]])  # at once, though the one before it is held
    await held.let_go()
    await outcomes_of(creations)
    assert (await what_is_there(postgres))[0] == ["a", "c"]


async def test_no_group_begins_when_all_waiting_creations_are_cancelled(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    for each in creations[1:]:
        each.cancel()
    await outcomes_of(creations[1:])
    await held.let_go()
    await creations[0]
    await next_writer_proceeds(postgres)
    assert (await what_is_there(postgres))[0] == ["a", "Next"]


async def behind_two(postgres: PostgresDatabase, users: UserService, held: Held) -> tuple[list[Creation], Held]:
    """Returns when a group of b and c is in its statement."""
    creations = await held.create_behind(users, "a", "b", "c")
    again = Held(postgres)
    holding = asyncio.create_task(again.hold())  # comes behind a, and before the group
    await seen_waiting(postgres, 2)
    await held.let_go()
    await asyncio.gather(creations[0], holding)
    await seen_waiting(postgres, 1)
    return creations, again


async def seen_waiting(postgres: PostgresDatabase, number: int) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    while await postgres.reader.fetch(waiting) != [(number,)]:
        pass


async def test_a_creation_cancelled_in_its_group_does_not_disturb_the_others(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations, again = await behind_two(postgres, users, held)
    creations[1].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
        creations[1].cancel()
    assert not creations[1].done()  # nobody may believe it undone while it is not over
    await again.let_go()
    outcomes = await outcomes_of(creations)
    assert [type(each) for each in outcomes] == [Committed, asyncio.CancelledError, Committed]
    assert (await what_is_there(postgres))[0] == ["a", "b", "c"]


async def test_a_group_whose_callers_are_all_cancelled_is_rolled_back_and_the_next_proceeds(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations, again = await behind_two(postgres, users, held)
    for each in creations[1:]:
        each.cancel()
    await outcomes_of(creations[1:])  # though the lock is held
    await again.let_go()
    await next_writer_proceeds(postgres)
    assert (await what_is_there(postgres))[0] == ["a", "Next"]


async def test_a_group_whose_callers_are_cancelled_as_it_begins_blocks_nobody(
    postgres: PostgresDatabase, users: UserService, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    creations = await held.create_behind(users, "a", "b", "c")
    begin = Group.begin

    def begin_and_cancel(self: Group) -> None:
        begin(self)
        for each in creations[1:]:
            each.cancel()

    monkeypatch.setattr(Group, "begin", begin_and_cancel)
    await held.let_go()
    await outcomes_of(creations)
    await next_writer_proceeds(postgres)
    assert {"a", "Next"} <= {*(await what_is_there(postgres))[0]}


async def test_creations_that_wait_behind_a_cancelled_group_are_committed_next(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations, again = await behind_two(postgres, users, held)
    late = [create(users, name) for name in ("late", "later")]
    for _ in range(5):
        await asyncio.sleep(0)
    for each in creations[1:]:
        each.cancel()
    await outcomes_of(creations[1:])
    await again.let_go()
    await asyncio.gather(*late)
    assert await transactions(postgres) == [["a"], ["late", "later"]]


async def test_creations_that_wait_too_long_are_busy_and_not_stored(
    postgres_url: str, postgres: PostgresDatabase
) -> None:
    impatient = database(postgres_url)
    await impatient.start()
    assert impatient._writing is not None
    users, held = UserService(SqlUnitsOfWork(impatient), CONTEXT), Held(impatient)
    await held.hold()
    first = create(users, "a")
    await seen_waiting_for_an_advisory_lock(postgres)
    impatient._writing.timeout_s = 0.01
    held.gathered._patience_s = 0.01
    outcomes = await outcomes_of([create(users, "b") for _ in range(3)])
    assert {type(each) for each in outcomes} == {Busy}
    await held.let_go()
    await first
    assert (await what_is_there(postgres))[0] == ["a"]
    await impatient.stop()


async def test_a_group_that_has_begun_is_not_refused_however_long_it_takes(users: UserService, held: Held) -> None:
    """The time-out applies to the wait before the group begins."""
    creations = await held.create_behind(users, "a", "b", "c")
    timer = held.gathered._timer
    await held.let_go()
    await asyncio.gather(*creations)
    assert timer is not None
    assert timer.cancelled()


async def test_a_stop_waits_for_the_group_that_is_being_committed(
    postgres: PostgresDatabase, users: UserService, held: Held
) -> None:
    creations, again = await behind_two(postgres, users, held)
    stop = asyncio.ensure_future(postgres.stop())
    await asyncio.sleep(0)
    await again.let_go()
    await asyncio.gather(stop, *creations)
    await postgres.start()
    assert (await what_is_there(postgres))[0] == ["a", "b", "c"]

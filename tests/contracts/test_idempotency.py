"""What every directory promises of requests with an idempotency key."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.contracts.sample import MemorySampleUnits, NewParticipation, NewProject, NewTask, Participation

from domain.errors import Conflict
from domain.idempotency import REMEMBERED_FOR, AlreadyDone, Committed, IdempotencyKey, IdempotencyKeyReused, InFlight
from domain.users import NewUser, User
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.database import database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.bound(30)


class MovingClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest, clock: MovingClock) -> UnitsOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork(clock)
    return SqlUnitsOfWork(request.getfixturevalue(request.param), clock)


def keyed(
    key: str = "key", *, fingerprint: str = "same", actor: str = "tester", dry_run: bool = False
) -> RequestContext:
    return RequestContext(
        actor=actor, request_id="r1", dry_run=dry_run, idempotency_key=IdempotencyKey(key, fingerprint, as_text)
    )


def as_text(committed: Committed[Any]) -> str:
    user: User = committed.result
    return f"{user.name} at version {user.version} by change {committed.seq}"


async def answer_to(units: UnitsOfWork, context: RequestContext) -> str:
    with pytest.raises(AlreadyDone) as done:
        await UserService(units, context).create(NewUser(name="Nobody"))
    return done.value.answer


async def names(units: UnitsOfWork) -> list[str]:
    async with units.reading() as work:
        return [user.name for user in await work.users.list(limit=100)]


async def test_a_repeated_request_gets_the_stored_answer(units: UnitsOfWork) -> None:
    committed = await UserService(units, keyed()).create(NewUser(name="Alice"))
    assert await answer_to(units, keyed()) == f"Alice at version 1 by change {committed.seq}"
    assert await names(units) == ["Alice"]


async def test_the_stored_answer_shows_the_entity_that_was_passed_to_commit(units: UnitsOfWork) -> None:
    async with units.writing(keyed()) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        await work.users.add(NewUser(name="Bob"))
        alicia = await work.users.save(alice.revised(name="Alicia"))
        committed = await work.commit(alicia)
    async with units.reading() as reading:
        assert committed.seq == await reading.changes.last()
    assert await answer_to(units, keyed()) == f"Alicia at version 2 by change {committed.seq}"


async def test_a_unit_with_a_key_is_committed_with_an_entity(units: UnitsOfWork) -> None:
    async with units.writing(keyed()) as work:
        await work.users.add(NewUser(name="Alice"))
        with pytest.raises(TypeError, match="entity"):
            await work.commit("no entity")
    assert await names(units) == []


async def test_another_request_with_the_same_key_is_refused(units: UnitsOfWork) -> None:
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    with pytest.raises(IdempotencyKeyReused):
        await UserService(units, keyed(fingerprint="other")).create(NewUser(name="Bob"))
    assert await names(units) == ["Alice"]


@pytest.mark.parametrize("other", [keyed("other"), keyed("KEY"), keyed(actor="somebody"), keyed(actor="tester key")])
async def test_keys_of_different_actors_and_different_keys_are_independent(
    units: UnitsOfWork, other: RequestContext
) -> None:
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    await UserService(units, other).create(NewUser(name="Bob"))
    assert await names(units) == ["Alice", "Bob"]


async def test_a_unit_without_a_commit_stores_no_answer(units: UnitsOfWork) -> None:
    async with units.writing(keyed()) as work:
        await work.users.add(NewUser(name="Nobody"))
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    assert await names(units) == ["Alice"]


async def test_a_refused_request_stores_no_answer(units: UnitsOfWork) -> None:
    bob = (await UserService(units, keyed("bob")).create(NewUser(name="Bob", email="key"))).result
    with pytest.raises(Conflict):
        await UserService(units, keyed()).create(NewUser(name="Alice", email="KEY"))
    await UserService(units, keyed("free")).patch(bob.id, {"email": None})
    await UserService(units, keyed()).create(NewUser(name="Alice", email="KEY"))
    assert await names(units) == ["Bob", "Alice"]


async def test_a_request_that_wrote_nothing_stores_no_answer(units: UnitsOfWork) -> None:
    alice = (await UserService(units, keyed("alice")).create(NewUser(name="Alice"))).result
    await UserService(units, keyed()).patch(alice.id, {"name": "Alice"})
    await UserService(units, keyed()).patch(alice.id, {"name": "Alicia"})
    assert await names(units) == ["Alicia"]


async def test_a_dry_run_neither_stores_nor_replays_an_answer(units: UnitsOfWork) -> None:
    await UserService(units, keyed(dry_run=True)).create(NewUser(name="Nobody"))
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    tried = (await UserService(units, keyed(dry_run=True)).create(NewUser(name="Nobody"))).result
    assert tried.name == "Nobody"
    assert await names(units) == ["Alice"]


async def test_a_key_is_free_again_after_24_hours_and_no_sooner(units: UnitsOfWork, clock: MovingClock) -> None:
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    clock.now += REMEMBERED_FOR - timedelta(microseconds=1)
    assert (await answer_to(units, keyed())).startswith("Alice")
    clock.now += timedelta(microseconds=1)
    await UserService(units, keyed(fingerprint="other")).create(NewUser(name="Bob"))
    clock.now += REMEMBERED_FOR - timedelta(microseconds=1)
    assert (await answer_to(units, keyed(fingerprint="other"))).startswith("Bob")
    assert await names(units) == ["Alice", "Bob"]


@pytest.mark.parametrize("fingerprint", ["same", "other"])
async def test_a_second_request_is_refused_while_the_first_one_with_its_key_runs(
    units: UnitsOfWork, fingerprint: str
) -> None:
    async with units.writing(keyed()) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        with pytest.raises(InFlight):
            await UserService(units, keyed(fingerprint=fingerprint)).create(NewUser(name="Nobody"))
        await work.commit(alice)
        with pytest.raises(InFlight):  # until it has left
            await UserService(units, keyed()).create(NewUser(name="Nobody"))
    assert (await answer_to(units, keyed())).startswith("Alice")
    assert await names(units) == ["Alice"]


async def test_a_key_is_free_again_after_its_unit_failed(units: UnitsOfWork) -> None:
    async def fail() -> None:
        async with units.writing(keyed()):
            raise KeyError("a defect")

    with pytest.raises(KeyError):
        await fail()
    await UserService(units, keyed()).create(NewUser(name="Alice"))
    assert await names(units) == ["Alice"]


async def test_an_erasure_removes_stored_answers_that_show_the_user(units: UnitsOfWork) -> None:
    alice = (await UserService(units, keyed("alice")).create(NewUser(name="Alice"))).result
    await UserService(units, keyed("bob")).create(NewUser(name="Bob"))
    await UserService(units, keyed("patch")).patch(alice.id, {"name": "Alicia"})
    await UserService(units, RequestContext(actor="tester", request_id="r2")).purge(alice.id)
    for key in ("alice", "patch"):
        await UserService(units, keyed(key)).create(NewUser(name="Anew"))
    assert (await answer_to(units, keyed("bob"))).startswith("Bob")
    assert await names(units) == ["Bob", "Anew", "Anew"]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def directory(request: pytest.FixtureRequest) -> Any:
    """A directory with participations, whose values are personal to their user."""
    return MemorySampleUnits() if request.param == "memory" else request.getfixturevalue(f"sample_{request.param}")


def of_member(key: str) -> RequestContext:
    return RequestContext(
        actor="tester",
        request_id="r1",
        idempotency_key=IdempotencyKey(key, "same", lambda committed: f"{committed.result} by {committed.seq}"),
    )


async def join(directory: Any, key: str, new: NewParticipation) -> Participation:
    async with directory.writing(of_member(key)) as work:
        joined: Participation = await work.participations.add(new)
        await work.commit(joined)
        return joined


async def is_answered(directory: Any, key: str) -> bool:
    try:
        async with directory.writing(of_member(key)):
            return False
    except AlreadyDone:
        return True


@pytest.mark.parametrize("ended", [False, True])
async def test_an_erasure_removes_stored_answers_that_show_personal_values_of_the_user(
    directory: Any, ended: bool
) -> None:
    """A participation is about its user, but not about its project: so Bob's answers stay."""
    tester = RequestContext(actor="tester", request_id="r2")
    async with directory.writing(tester) as work:
        alice, bob = await work.users.add(NewUser(name="Alice")), await work.users.add(NewUser(name="Bob"))
        apollo = await work.projects.add(NewProject(name="Apollo", owner_id=bob.id))
        await work.commit(None)
    hers = await join(directory, "hers", NewParticipation(project_id=apollo.id, user_id=alice.id, role="secret"))
    his = await join(directory, "his", NewParticipation(project_id=apollo.id, user_id=bob.id))
    for key, joined in (("her role", hers), ("his role", his)):
        async with directory.writing(of_member(key)) as work:
            await work.commit(await work.participations.save(joined.revised(role="lead")))
    async with directory.writing(of_member("task")) as work:
        await work.commit(await work.tasks.add(NewTask(title="t", assignee_id=alice.id)))
    if ended:
        async with directory.writing(tester) as work:
            assert await work.participations.end_all("user_id", alice.id) == 1
            await work.commit(None)
    keys = ("hers", "her role", "his", "his role", "task")
    assert [await is_answered(directory, key) for key in keys] == [True] * 5

    async with directory.writing(replace(tester, dry_run=True)) as work:
        await work.users.remove(await work.users.get(alice.id))
        await work.commit(None)
    assert [await is_answered(directory, key) for key in keys] == [True] * 5

    async with directory.writing(tester) as work:
        await work.users.remove(await work.users.get(alice.id))
        await work.commit(None)
    assert [await is_answered(directory, key) for key in keys] == [False, False, True, True, True]


@pytest.fixture
async def there(postgres_url: str, clock: MovingClock) -> AsyncIterator[UnitsOfWork]:
    """The same PostgreSQL database, in another process."""
    units = SqlUnitsOfWork(database_at(postgres_url, serving=True, pool_size=2, pool_timeout_s=5), clock)
    await units.start()
    yield units
    await units.stop()


async def test_on_postgres_processes_share_stored_answers_and_keys_in_use(
    postgres: PostgresDatabase, there: UnitsOfWork, clock: MovingClock
) -> None:
    here = SqlUnitsOfWork(postgres, clock)
    async with here.writing(keyed()) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        with pytest.raises(InFlight):
            await UserService(there, keyed()).create(NewUser(name="Nobody"))
        await UserService(there, keyed("other")).create(NewUser(name="Bob"))
        await work.commit(alice)
    assert (await answer_to(there, keyed())).startswith("Alice")


@pytest.mark.parametrize("has_expired", [False, True])
async def test_on_postgres_the_commit_lock_is_held_only_to_store_the_answer_and_to_commit(
    postgres: PostgresDatabase, clock: MovingClock, monkeypatch: pytest.MonkeyPatch, has_expired: bool
) -> None:
    sent: list[str] = []

    def recorded(method: str) -> None:
        whole = getattr(asyncpg.Connection, method)

        async def record(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
            sent.append(query)
            return await whole(self, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, method, record)

    units = SqlUnitsOfWork(postgres, clock)
    if has_expired:  # the expired answer has to be removed too
        await UserService(units, keyed()).create(NewUser(name="Bob"))
        clock.now += timedelta(days=2)
    for method in ("fetch", "execute"):
        recorded(method)
    await UserService(units, keyed()).create(NewUser(name="Alice"))

    (locked,) = [number for number, query in enumerate(sent) if "pg_advisory_xact_lock(" in query]
    assert [query.partition("(")[0].strip() for query in sent[locked + 1 :]] == ["INSERT INTO answers", "COMMIT"]


async def test_the_unit_is_rolled_back_if_its_answer_cannot_be_stored(units: UnitsOfWork) -> None:
    def fail(committed: Committed[Any]) -> str:
        raise KeyError("a defect")

    broken = RequestContext(actor="tester", request_id="r1", idempotency_key=IdempotencyKey("key", "same", fail))
    with pytest.raises(KeyError):
        await UserService(units, broken).create(NewUser(name="Nobody"))
    assert await names(units) == []
    await UserService(units, keyed()).create(NewUser(name="Alice"))

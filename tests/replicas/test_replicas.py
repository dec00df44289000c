"""Reading from streaming replicas: which reads do, what they see, and what happens when a replica is gone."""

import asyncio
import math
import re
from collections import Counter
from pathlib import Path
from typing import Self

import pytest
from tests import exports
from tests.replicas.conftest import IS_REPLICA, Pair, opened, reader, reads_from_replica, until

from domain.errors import Contended, Malformed, NotFound
from domain.findings import Level
from domain.lists.pages import MAX_LIMIT
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.meter import NoMeter
from repositories.engines.postgres.replicas import ANSWER_WITHIN_S, LOOK_EVERY_S, Heads, PostgresReplicas
from repositories.work.units_of_work import SqlUnitsOfWork
from services.changes import ChangeService
from services.exports import ExportService
from services.users import UserService

WRITER = RequestContext(actor="writer", request_id="r1")


async def create(units: SqlUnitsOfWork, name: str) -> int:
    """Creates a user, and returns the number of its change."""
    committed = await UserService(units, WRITER).create(NewUser(name=name))
    assert committed.seq is not None
    return committed.seq


def replicas_of(units: SqlUnitsOfWork) -> PostgresReplicas:
    replicas = units._database.replicas
    assert isinstance(replicas, PostgresReplicas)
    return replicas


async def test_reads_of_requests_go_to_the_replica_and_other_reads_to_the_primary(units: SqlUnitsOfWork) -> None:
    assert await reads_from_replica(units)
    assert not await reads_from_replica(units, reader(None))
    async with units.reading() as work:
        assert await work.unit.executor.fetch(IS_REPLICA) == [(False,)]
    async with units.writing(WRITER) as writing:
        assert await writing.unit.executor.fetch(IS_REPLICA) == [(False,)]
    async with units.snapshot(reader()) as work:
        assert await work.unit.executor.fetch(IS_REPLICA) == [(True,)]


async def test_a_client_reads_its_own_write_from_the_primary_until_the_replica_has_it(
    pair: Pair, units: SqlUnitsOfWork
) -> None:
    async with pair.behind():
        seq = await create(units, "Alice")
        with pytest.raises(NotFound):
            await UserService(units, reader()).get(1)
        context = reader(seq)
        assert (await UserService(units, context).get(1)).name == "Alice"
        assert not await reads_from_replica(units, context)
    await until(lambda: reads_from_replica(units, reader(seq)))
    context = reader(seq)
    assert (await UserService(units, context).get(1)).name == "Alice"
    assert context.seen == seq


async def test_a_replica_that_is_too_far_behind_is_not_used(pair: Pair) -> None:
    async def is_left_out() -> bool:
        return not await reads_from_replica(units)

    async with opened(pair, lag_s=1) as units:
        await until(lambda: reads_from_replica(units))
        async with pair.behind():
            await create(units, "Alice")
            await until(is_left_out)
            assert (await UserService(units, reader()).get(1)).name == "Alice"
        await until(lambda: reads_from_replica(units))


async def test_a_replica_is_not_behind_if_nothing_changes(pair: Pair) -> None:
    async with opened(pair, lag_s=1) as units:
        await until(lambda: reads_from_replica(units))
        for _ in range(6):  # longer than a replica may be behind
            await asyncio.sleep(LOOK_EVERY_S)
            assert await reads_from_replica(units)


def test_the_lag_of_a_replica_counts_from_the_first_change_that_it_lacks() -> None:
    heads = Heads(kept_s=10)
    assert heads.had_no_more_than(5) == -math.inf
    for at, head in ((1, 3), (2, 3), (3, 5), (4, 8), (5, 8)):
        heads.saw(head, at)
    assert [heads.had_no_more_than(seq) for seq in (2, 3, 4, 5, 7, 8, 9)] == [-math.inf, 2, 2, 3, 3, 5, 5]
    heads.saw(9, 12.5)
    assert [heads.had_no_more_than(seq) for seq in (3, 5, 8)] == [-math.inf, 3, 5]


def test_a_replica_that_does_not_answer_is_noticed_within_a_second() -> None:
    assert LOOK_EVERY_S + ANSWER_WITHIN_S < 1


class Readers:
    """Clients that read all the time. An error of any read ends the test."""

    def __init__(self, units: SqlUnitsOfWork, number: int = 8) -> None:
        self.places: Counter[bool] = Counter()
        self._units = units
        self._number = number

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.gather(*[self._read() for _ in range(self._number)])
        return self

    async def __aexit__(self, *error: object) -> None:
        self._tasks.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks

    async def _read(self) -> None:
        while True:
            context = reader()
            assert (await UserService(self._units, context).get(1)).name == "Alice"
            self.places[context.min_seq is not None] += 1
            await asyncio.sleep(0.001)

    async def goes_on(self) -> bool:
        assert not self._tasks.done(), self._tasks.exception()
        before = self.places.total()
        await until(lambda: self._has(before + 20))
        return True

    async def _has(self, reads: int) -> bool:
        assert not self._tasks.done(), self._tasks.exception()
        return self.places.total() >= reads


async def test_no_read_fails_when_a_replica_dies_and_it_serves_again_when_it_is_back(
    pair: Pair, units: SqlUnitsOfWork
) -> None:
    async def is_away() -> bool:
        return not await reads_from_replica(units)

    await create(units, "Alice")
    await pair.caught_up()
    async with Readers(units) as readers:
        await readers.goes_on()
        pair.replica.kill()
        try:
            await readers.goes_on()
            await until(is_away)
            await readers.goes_on()
        finally:
            pair.replica.start()
        await until(lambda: reads_from_replica(units))
        await readers.goes_on()


async def test_a_frozen_replica_delays_no_read(pair: Pair, units: SqlUnitsOfWork) -> None:
    async def is_away() -> bool:
        return not replicas_of(units)._replicas[0].is_well

    await create(units, "Alice")
    await pair.caught_up()
    async with Readers(units) as readers:
        await readers.goes_on()
        with pair.replica.frozen():
            await until(is_away)
            await readers.goes_on()
        await until(lambda: reads_from_replica(units))
        await readers.goes_on()


async def test_a_server_starts_and_reads_without_its_replica(pair: Pair, tmp_path: Path) -> None:
    async with opened(pair, replicas=f"postgresql://roster@/postgres?host={tmp_path}") as units:
        await create(units, "Alice")
        assert (await UserService(units, reader()).get(1)).name == "Alice"


async def test_a_stream_comes_from_the_primary_if_the_replica_cannot_begin_it(
    pair: Pair, units: SqlUnitsOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(units, "Alice")
    await pair.caught_up()
    replica = replicas_of(units)._replicas[0]
    assert replica._streaming is not None
    replica._streaming.cut()  # as when it was lost since the last look
    context = reader()
    everybody = await exports.everything(UserService(units, context).export(exports.USERS))
    assert [user.name for user in everybody] == ["Alice"]
    assert context.min_seq is None


@pytest.fixture
async def people(pair: Pair, units: SqlUnitsOfWork) -> list[str]:
    """More than two pages of users, which the replica has."""
    names = [f"user {number}" for number in range(2 * MAX_LIMIT + 1)]
    async with units.writing(WRITER) as work:
        await work.users.add_many([NewUser(name=name) for name in names])
        await work.commit(None)
    await pair.caught_up()
    return names


async def test_a_stream_continues_from_the_primary_when_its_replica_dies(
    pair: Pair, units: SqlUnitsOfWork, people: list[str]
) -> None:
    last = await pair.on_primary("SELECT max(seq) FROM changes")
    context = reader(last)
    await until(lambda: reads_from_replica(units, reader(last)))
    stream = UserService(units, context).export(exports.USERS)
    pages = [await anext(stream)]
    assert context.min_seq == last  # so it came from the replica
    pair.replica.kill()
    try:
        later = await create(units, "later")
        pages += [page async for page in stream]
    finally:
        pair.replica.start()
    assert [user.name for page in pages for user in exports.read(page.items)] == [*people, "later"]
    assert (pages[0].seq, pages[-1].seq) == (last, later)
    assert context.min_seq is None


async def test_the_export_of_a_person_comes_from_the_primary(pair: Pair, units: SqlUnitsOfWork) -> None:
    """A stream shows one moment, so it could not continue from another server."""
    seq = await create(units, "Alice")
    await pair.caught_up()
    await until(lambda: reads_from_replica(units, reader(seq)))
    context = reader(seq)
    stream = ExportService(units, context).person(1)
    parts = [await anext(stream)]
    pair.replica.kill()
    try:
        parts += [part async for part in stream]
    finally:
        pair.replica.start()
    assert [change.seq for part in parts for change in part.changes] == [seq]
    assert context.min_seq is None


async def test_the_feed_can_be_followed_on_the_replica_and_on_the_primary(pair: Pair, units: SqlUnitsOfWork) -> None:
    first = await create(units, "Alice")
    async with pair.behind():
        second = await create(units, "Bob")
        page = await ChangeService(units, reader(second)).list(since=0, limit=9)
        assert [change.seq for change in page.changes] == [first, second]
        assert (await ChangeService(units, reader()).list(since=page.end, limit=9)).changes == []
        with pytest.raises(Malformed):
            await ChangeService(units, reader()).list(since=second + 1, limit=9)
        assert (await ChangeService(units, reader()).list(since=None, limit=9)).end == second


async def test_a_wait_ends_with_a_change_of_the_primary_before_the_replica_has_it(
    pair: Pair, units: SqlUnitsOfWork
) -> None:
    seq = await create(units, "Alice")
    async with pair.behind():
        wait = asyncio.create_task(ChangeService(units, reader()).wait(since=seq, limit=9, within_s=30))
        await asyncio.sleep(0)
        second = await create(units, "Bob")
        page = await wait
        assert [change.seq for change in page.changes] == [second]


async def test_a_server_of_another_directory_is_never_read_from(pair: Pair) -> None:
    other = re.sub("/[^/]*[?]", "/template1?", pair.primary_url)
    async with opened(pair, replicas=other) as units:
        replica = replicas_of(units)._replicas[0]

        async def was_looked_at() -> bool:
            return bool(replica._reason)

        await until(was_looked_at)
        assert replica._reason == "it is not a replica of this database"
        assert not replica.is_well
        assert not await reads_from_replica(units)


async def test_the_doctor_checks_each_replica(pair: Pair, tmp_path: Path) -> None:
    away = f"postgresql://roster@/postgres?host={tmp_path}"
    other = re.sub("/[^/]*[?]", "/template1?", pair.primary_url)
    urls = f"{pair.replica_url}, {away}, {other}"
    database = database_at(pair.primary_url, serving=False, pool_size=1, pool_timeout_s=1, replica_url=urls)
    found = [each for each in await database.examine() if each.what.startswith("replica")]
    await database.stop()
    assert [each.level for each in found] == [Level.OK, Level.WARN, Level.FAIL]
    assert found[0].says == "has change 0, the primary had 0"


class Notes(NoMeter):
    def __init__(self) -> None:
        self.places: Counter[str] = Counter()
        self.lags: list[float] = []

    def read_from(self, place: str) -> None:
        self.places[place] += 1

    def behind(self, replica: str, seconds: float) -> None:
        self.lags.append(seconds)


async def test_the_meter_records_where_reads_ran_and_the_lag_of_replicas(pair: Pair) -> None:
    notes = Notes()
    async with opened(pair, meter=notes) as units:
        await until(lambda: reads_from_replica(units))
        before = dict(notes.places)
        await reads_from_replica(units)
        await reads_from_replica(units, reader(10**6))
        assert notes.places["replica"] == before["replica"] + 1
        assert notes.places["primary"] == before.get("primary", 0) + 1
        with pytest.raises(Contended):
            async with units.reading(reader()):
                raise Contended("The connection was lost.")
        assert notes.places["moved"] == 1
    assert 0 <= notes.lags[-1] < math.inf

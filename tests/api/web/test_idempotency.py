"""Idempotency keys over HTTP, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa
from dependency_injector import providers
from httpx2 import AsyncClient, Response

from api.container import Container
from domain.idempotency import IdempotencyKey
from domain.users import NewUser
from domain.work import RequestContext
from repositories.answers import REMOVED_AT_ONCE, answers
from repositories.work.units_of_work import SqlUnitsOfWork

ONCE: Final = {"idempotency-key": "create-alice"}
ALICE: Final = {"name": "Alice", "email": "Alice@Example.org", "attributes": {"é": [1, 2.5, None, "😀"]}}

Client = AbstractAsyncContextManager[AsyncClient]
DEADLINE_S: Final = 30


class MovingClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def container(database_container: Container, clock: MovingClock) -> Container:
    database_container.clock.override(providers.Object(clock))
    return database_container


@pytest.fixture
async def client(container: Container, client_of: Callable[[Container], Client]) -> AsyncIterator[AsyncClient]:
    async with client_of(container) as client:
        yield client


async def post(client: AsyncClient, key: str = "create-alice", path: str = "/users/", **body: object) -> Response:
    return await client.post(path, json=body or ALICE, headers={"idempotency-key": key})


def kept_headers(answer: Response) -> dict[str, str]:
    """The headers without those that differ in each exchange."""
    return {name: value for name, value in answer.headers.items() if name not in ("x-request-id", REPLAYED)}


REPLAYED: Final = "idempotency-replayed"


def refusal(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_repeated_request_gets_the_same_answer_marked_as_replayed(client: AsyncClient) -> None:
    first = await post(client)
    again = [await post(client) for _ in range(2)]

    assert (first.status_code, REPLAYED in first.headers) == (201, False)
    for answer in again:
        assert (answer.status_code, answer.content, kept_headers(answer)) == (201, first.content, kept_headers(first))
        assert answer.headers[REPLAYED] == "true"
        assert answer.headers["x-request-id"] != first.headers["x-request-id"]
    assert {"location", "etag", "last-modified", "roster-seq", "content-type"} <= first.headers.keys()
    assert len((await client.get("/users/")).json()) == 1
    assert len((await client.get("/changes/")).json()) == 1


async def test_a_collection_without_its_slash_is_the_same_request(client: AsyncClient) -> None:
    first, again = await post(client, path="/users/"), await post(client, path="/users")

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers[REPLAYED] == "true"


async def test_a_replayed_answer_shows_the_state_of_its_time(client: AsyncClient) -> None:
    first = await post(client)
    await client.patch("/users/1", json={"name": "Alicia"})
    assert (await post(client)).content == first.content
    await client.delete("/users/1")
    assert (await post(client)).content == first.content


async def test_a_replayed_answer_has_the_same_fields(client: AsyncClient) -> None:
    first = await post(client, path="/users/?fields=id,version")
    again = await post(client, path="/users/?fields=id,version")
    assert first.content == again.content == b'{"id":1,"version":1}'


@pytest.mark.parametrize(
    "other",
    [{"path": "/users/?fields=id"}, {"name": "Bob"}, {**ALICE, "status": "active"}, {"path": "/users/9/restore"}],
)
async def test_the_same_key_with_another_request_is_refused(client: AsyncClient, other: dict[str, Any]) -> None:
    await post(client)
    assert refusal(await post(client, **other)) == (422, "idempotency_key_reused")
    assert len((await client.get("/users/")).json()) == 1
    assert (await post(client)).headers[REPLAYED] == "true"


async def test_requests_with_different_keys_or_none_are_independent(client: AsyncClient) -> None:
    answers = [await post(client, key, name="Alice") for key in ("create-1", "create-2", "CREATE-1")]
    answers += [await client.post("/users/", json={"name": "Alice"}) for _ in range(2)]
    assert [answer.json()["id"] for answer in answers] == [1, 2, 3, 4, 5]


GOOD_KEYS: Final = ["12345678", "~" * 255, "!\"#$%&'()", '"6b1f4a52-quoted"']


async def test_a_key_is_8_to_255_visible_characters(client: AsyncClient) -> None:
    for key in GOOD_KEYS:
        assert (await post(client, key, name="Alice")).status_code == 201
        assert (await post(client, key, name="Alice")).headers[REPLAYED] == "true"


BAD_KEYS: Final = ["", "1234567", "~" * 256, "with blank", "with\ttab", "latin-1-é", "control-\x7f", "€" * 8]


async def test_any_other_key_is_refused_before_anything_is_done(client: AsyncClient) -> None:
    for key in BAD_KEYS:
        for path in ("/users/", "/users/1/restore"):
            refused = await client.post(path, json=ALICE, headers=[(b"idempotency-key", key.encode())])
            assert refusal(refused) == (422, "invalid")
            assert refused.json()["errors"][0]["pointer"] == "/header/idempotency-key"
        assert (await client.get("/users/")).json() == []


async def test_a_refusal_is_not_stored(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Thief", "email": ALICE["email"]})
    assert refusal(await post(client)) == (409, "conflict")
    assert (await post(client, name="")).status_code == 422
    await client.delete("/users/1")

    created = await post(client)

    assert (created.status_code, REPLAYED in created.headers) == (201, False)


async def test_a_restoration_is_carried_out_once(client: AsyncClient) -> None:
    await client.post("/users/", json=ALICE)
    await client.delete("/users/1")
    path, key = "/users/1/restore", {"idempotency-key": "restore-alice"}

    first = await client.post(path, headers=key)
    await client.delete("/users/1")
    again = await client.post(path, headers=key)

    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.content, kept_headers(again)) == (first.content, kept_headers(first))
    assert again.headers[REPLAYED] == "true"
    assert (await client.get("/users/1")).status_code == 410


async def test_a_dry_run_neither_stores_nor_replays_an_answer(client: AsyncClient) -> None:
    tried = await post(client, path="/users/?dry_run=true")
    first = await post(client)
    tried_again = await post(client, path="/users/?dry_run=true", name="Bob")

    assert [answer.status_code for answer in (tried, first, tried_again)] == [201] * 3
    assert tried_again.json()["name"] == "Bob"
    assert not any(REPLAYED in answer.headers for answer in (tried, first, tried_again))


async def test_an_answer_is_stored_for_24_hours(client: AsyncClient, clock: MovingClock) -> None:
    await post(client, name="Alice")
    clock.now += timedelta(hours=24, microseconds=-1)
    assert (await post(client, name="Alice")).headers[REPLAYED] == "true"
    clock.now += timedelta(microseconds=1)
    created_again = await post(client, name="Bob")
    assert (created_again.status_code, created_again.json()) == (201, {"id": 2, "name": "Bob"})
    clock.now += timedelta(hours=1)
    assert (await post(client, name="Bob")).headers[REPLAYED] == "true"


async def remembered(container: Container) -> list[str]:
    rows = await container.database().reader.fetch(sa.select(answers.c.key).order_by(answers.c.key))
    return [key for (key,) in rows]


async def test_old_answers_are_removed_even_without_new_requests_with_a_key(
    container: Container, client: AsyncClient, clock: MovingClock
) -> None:
    many = [f"{number:08}" for number in range(REMOVED_AT_ONCE + 50)]
    row = {"actor": "a", "fingerprint": "f", "answer": "{}", "kind": "user", "entity_id": 7, "at": clock.now}
    async with container.database().transaction() as executor:
        for key in many:
            await executor.fetch(sa.insert(answers), {**row, "key": key})
        young = {**row, "key": "young", "at": clock.now + timedelta(hours=1)}
        await executor.fetch(sa.insert(answers), young, last=True)
    clock.now += timedelta(hours=24)

    await post(client, "first-one")
    assert len(await remembered(container)) == len(many) + 2
    await container.units().clear_answers()
    assert await remembered(container) == ["first-one", "young"]


async def test_a_server_removes_old_answers_by_itself(
    database_url: str,
    container_at: Callable[[str], Container],
    client_of: Callable[[Container], AbstractAsyncContextManager[AsyncClient]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleared = asyncio.Event()

    async def clear(self: SqlUnitsOfWork) -> None:
        cleared.set()

    monkeypatch.setattr("repositories.work.units_of_work.CLEARED_EVERY_S", 0.001)
    monkeypatch.setattr(SqlUnitsOfWork, "clear_answers", clear)
    async with client_of(container_at(database_url)), asyncio.timeout(10):
        await cleared.wait()


async def test_of_many_concurrent_posts_with_one_key_one_creates(client: AsyncClient) -> None:
    posts = await asyncio.gather(*(post(client) for _ in range(50)))

    done = [answer for answer in posts if answer.status_code == 201]
    in_flight = [answer for answer in posts if answer.status_code != 201]
    assert {answer.content for answer in done} == {(await post(client)).content}
    assert sum(REPLAYED not in answer.headers for answer in done) == 1
    assert {refusal(answer) for answer in in_flight} <= {(409, "in_flight")}
    assert {answer.headers["retry-after"] for answer in in_flight} <= {"1"}
    assert len((await client.get("/users/")).json()) == 1
    assert len((await client.get("/changes/")).json()) == 1


async def test_a_request_is_refused_with_retry_after_while_the_first_one_runs(
    container: Container, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is held at its commit."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as held:
        units = container.units()
        writing = units.writing

        def hold_the_first(context: RequestContext) -> Any:
            monkeypatch.setattr(units, "writing", writing)
            return Held(writing(context), arrived, go_on)

        monkeypatch.setattr(units, "writing", hold_the_first)
        first = asyncio.create_task(post(client))
        held.callback(first.cancel)
        await arrived.wait()
        twin, other = await post(client), await post(client, name="Bob")
        go_on.set()
        created = await first

    for answer in (twin, other):
        assert (*refusal(answer), answer.headers["retry-after"]) == (409, "in_flight", "1")
    assert created.status_code == 201
    assert (await post(client)).content == created.content


class Held:
    """A unit of work that waits at its commit."""

    def __init__(self, unit: Any, arrived: asyncio.Event, go_on: asyncio.Event) -> None:
        self._unit, self._arrived, self._go_on = unit, arrived, go_on

    async def __aenter__(self) -> Any:
        work = await self._unit.__aenter__()
        commit = work.commit

        async def wait_and_commit(result: Any) -> Any:
            self._arrived.set()
            await self._go_on.wait()
            return await commit(result)

        work.commit = wait_and_commit
        return work

    async def __aexit__(self, *error: object) -> Any:
        return await self._unit.__aexit__(*error)


@pytest.fixture
async def two_clients(
    postgres_url: str, container_at: Callable[[str], Container], client_of: Callable[[Container], Client]
) -> AsyncIterator[tuple[Container, AsyncClient, AsyncClient]]:
    """Clients of two servers on one PostgreSQL database, and the container of the first."""
    one, other = container_at(postgres_url), container_at(postgres_url)
    async with client_of(one) as first, client_of(other) as second:
        yield one, first, second


async def test_another_server_knows_stored_answers_and_running_requests(
    two_clients: tuple[Container, AsyncClient, AsyncClient],
) -> None:
    container, here, there = two_clients
    done = await post(here)
    assert (await post(there)).content == done.content
    assert (await post(there)).headers[REPLAYED] == "true"

    context = RequestContext(actor="anonymous", request_id="r1", idempotency_key=once_like("under-way"))
    async with container.units().writing(context) as work:
        bob = await work.users.add(NewUser(name="Bob"))
        assert (*refusal(await post(there, "under-way")),) == (409, "in_flight")
        await work.commit(bob)
    assert refusal(await post(there, "under-way")) == (422, "idempotency_key_reused")


def once_like(key: str) -> IdempotencyKey:
    return IdempotencyKey(key, "another request", lambda committed: "{}")


async def test_of_many_concurrent_posts_with_one_key_to_two_servers_one_creates(
    two_clients: tuple[Container, AsyncClient, AsyncClient],
) -> None:
    _, here, there = two_clients
    posts = await asyncio.gather(*(post(client) for _ in range(15) for client in (here, there)))

    done = [answer for answer in posts if answer.status_code == 201]
    assert sum(REPLAYED not in answer.headers for answer in done) == 1
    assert {refusal(answer) for answer in posts if answer not in done} <= {(409, "in_flight")}
    assert len((await here.get("/users/")).json()) == 1

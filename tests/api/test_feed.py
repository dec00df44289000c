"""The change feed over HTTP. A bound ends a wait that has no end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

import pytest
from dependency_injector import providers
from httpx2 import AsyncClient, Response

from api.changes import MAX_WAIT_S as LONG
from api.container import Container
from api.settings import Settings
from domain.limits import Limits
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork

pytestmark = pytest.mark.bound(LONG - 5)

Client = AbstractAsyncContextManager[AsyncClient]


@pytest.fixture
def container(database_container: Container) -> Container:
    return database_container


@pytest.fixture
async def client(container: Container, client_of: Callable[[Container], Client]) -> AsyncIterator[AsyncClient]:
    async with client_of(container) as client:
        yield client


@pytest.fixture
async def elsewhere(container: Container) -> AsyncIterator[UnitsOfWork]:
    """The same database, in another process."""
    settings = providers.Object(Settings(database_url=container.settings().database_url, pool_size=2))
    other = Container(settings=settings, serving=providers.Object(False))
    await other.units().start()
    yield other.units()
    await other.units().stop()


async def create(client: AsyncClient, name: str, **body: object) -> Response:
    created = await client.post("/users/", json={"name": name, **body})
    assert created.status_code == 201, created.text
    return created


def next_of(page: Response) -> str:
    return str(page.links["next"]["url"])


async def seen_waiting(container: Container, number: int) -> None:
    """Returns when this many readers wait."""
    while True:
        if len(container.units()._feed._waits) >= number:
            return
        await asyncio.sleep(0)


async def test_every_write_returns_the_number_of_its_change(client: AsyncClient) -> None:
    writes = [
        await create(client, "Alice"),
        await client.patch("/users/1", json={"name": "Alicia"}),
        await client.put("/users/by/external-id/x", json={"name": "Bob"}),
        await client.put("/users/by/external-id/x", json={"name": "Bobby"}),
        await client.delete("/users/1"),
        await client.post("/users/1/restore"),
        await client.delete("/users/2?purge=true"),
    ]
    quiet = [
        await client.patch("/users/1", json={"name": "Alicia"}),
        await client.post("/users/1/restore"),
        await client.get("/users/1"),
        await client.delete("/users/9"),
    ]

    recorded = (await client.get("/changes/")).json()
    assert [int(answer.headers["roster-seq"]) for answer in writes] == [change["seq"] for change in recorded]
    assert [change["action"] for change in recorded] == [
        "created", "updated", "created", "updated", "deleted", "restored", "purged",
    ]  # fmt: skip
    assert not any("roster-seq" in answer.headers for answer in quiet)


async def test_the_feed_continues_after_a_number_up_to_a_limit(client: AsyncClient) -> None:
    numbers = [int((await create(client, f"U{number}")).headers["roster-seq"]) for number in range(4)]

    for since, limit, expected in ((0, 2, numbers[:2]), (numbers[1], 10, numbers[2:]), (numbers[3], 10, [])):
        page = await client.get(f"/changes/?since={since}&limit={limit}")
        assert [change["seq"] for change in page.json()] == expected
        assert next_of(page) == f"/changes/?since={expected[-1] if expected else since}&limit={limit}"


BAD_NUMBERS: Final = ["-1", "+1", "1.0", "01", "x", "", str(2**53)]


async def test_a_number_that_no_change_can_have_is_refused(client: AsyncClient) -> None:
    for number in BAD_NUMBERS:
        for path in ("/changes/", "/users/1/changes/"):
            refused = await client.get(path, params={"since": number})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/since")


BAD_WAITS: Final = ["-1", "31", "0.5", "", "x", "+1"]


async def test_a_wait_takes_0_to_30_seconds(client: AsyncClient) -> None:
    for wait in BAD_WAITS:
        refused = await client.get("/changes/", params={"wait": wait})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/wait")


async def test_a_wait_returns_at_once_if_there_is_a_change(client: AsyncClient) -> None:
    await create(client, "Alice")
    page = await client.get(f"/changes/?wait={LONG}")
    assert [change["action"] for change in page.json()] == ["created"]


async def test_a_wait_ends_with_a_commit_in_this_process(container: Container, client: AsyncClient) -> None:
    await create(client, "Alice")
    start = next_of(await client.get(f"/changes/?wait={LONG}"))
    waits = asyncio.create_task(client.get(start))
    await seen_waiting(container, 1)

    assert (await client.post("/users/?dry_run=true", json={"name": "Nobody"})).status_code == 201
    assert (await client.post("/users/", json={"name": ""})).status_code == 422
    assert not waits.done()
    bob = await create(client, "Bob")

    page = await waits
    assert [(change["entity_id"], change["seq"]) for change in page.json()] == [
        (2 if change_ids_are_dense(container) else 3, int(bob.headers["roster-seq"]))
    ]
    assert next_of(page) != start


def change_ids_are_dense(container: Container) -> bool:
    """PostgreSQL uses up numbers for dry runs."""
    return container.settings().database_url.startswith("sqlite")


async def test_a_wait_ends_with_a_commit_of_another_process(
    container: Container, client: AsyncClient, elsewhere: UnitsOfWork
) -> None:
    await create(client, "Alice")
    start = next_of(await client.get(f"/changes/?wait={LONG}"))
    waits = asyncio.create_task(client.get(start))
    await seen_waiting(container, 1)

    context = RequestContext(actor="elsewhere", request_id="r1")
    async with elsewhere.writing(context) as work:
        await work.users.add(NewUser(name="Bob"))
        committed = await work.commit(None)

    assert [(change["actor"], change["seq"]) for change in (await waits).json()] == [("elsewhere", committed.seq)]


async def test_a_wait_without_a_change_returns_an_empty_page_with_the_same_position(
    container: Container, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of this test takes a hundredth of a second."""
    units = container.units()
    changed = units.changed
    monkeypatch.setattr(units, "changed", lambda since, within_s, *more: changed(since, within_s / 100, *more))
    await create(client, "Alice")
    for path in ("/changes/?wait=0", "/changes/?wait=1"):
        start = next_of(await client.get(path))
        page = await client.get(start)
        assert (page.status_code, page.json(), next_of(page)) == (200, [], start)


async def test_waiting_readers_use_no_database_connection(
    database_url: str, client_of: Callable[[Container], Client]
) -> None:
    """Two hundred readers wait with a pool of one connection, and others are served meanwhile.

    Ten come at a time, because a server that is busy refuses some of many at once.
    """
    settings = Settings(database_url=database_url, pool_size=1, pool_timeout_s=5, limits=Limits(waits_per_key=200))
    container = Container(settings=providers.Object(settings))
    async with client_of(container) as client, AsyncExitStack() as stack:
        waits: list[asyncio.Task[Response]] = []
        while len(waits) < 200:
            for _ in range(10):
                waits.append(asyncio.create_task(client.get(f"/changes/?wait={LONG}")))
                stack.callback(waits[-1].cancel)
            await seen_waiting(container, len(waits))

        assert (await client.get("/users/")).json() == []
        assert not any(wait.done() for wait in waits)
        created = await create(client, "Alice")

        for page in await asyncio.gather(*waits):
            assert [str(change["seq"]) for change in page.json()] == [created.headers["roster-seq"]]


async def test_a_draining_server_ends_all_waits(container: Container, client: AsyncClient) -> None:
    waits = [asyncio.create_task(client.get(f"/changes/?wait={LONG}")) for _ in range(3)]
    await seen_waiting(container, 3)

    container.units().release()

    for page in (*await asyncio.gather(*waits), await client.get(f"/changes/?wait={LONG}")):
        assert (page.status_code, page.json(), next_of(page)) == (200, [], f"/changes/?wait={LONG}&since=0")


async def test_a_filtered_feed_has_matching_changes_and_its_link_skips_the_others(client: AsyncClient) -> None:
    for number in range(6):
        await create(client, f"U{number}")
    deleted = await client.delete("/users/3")
    last = int((await client.patch("/users/1", json={"name": "U"})).headers["roster-seq"])
    filter = 'action eq "deleted" or action eq "updated"'

    first = await client.get("/changes/", params={"filter": filter, "limit": 1})
    second = await client.get(next_of(first))
    third = await client.get(next_of(second))

    assert [change["seq"] for change in first.json()] == [int(deleted.headers["roster-seq"])]
    assert [change["seq"] for change in second.json()] == [last]
    assert third.json() == []
    nobody = await client.get("/changes/", params={"filter": 'kind eq "group"'})
    assert nobody.json() == []
    assert f"since={last}" in next_of(nobody)


async def test_changes_during_the_read_of_a_filtered_feed_are_not_missed(
    container: Container, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matching change is committed between the read of the last number and the read of the list."""
    await create(client, "Alice")
    units = container.units()
    reading = units.reading

    def reading_interrupted(context: RequestContext) -> Any:
        monkeypatch.setattr(units, "reading", reading)
        return Interrupted(reading(context), lambda: create(client, "Bob"))

    monkeypatch.setattr(units, "reading", reading_interrupted)
    first = await client.get("/changes/", params={"filter": "entity_id gt 1"})
    second = await client.get(next_of(first))
    assert [change["entity_id"] for change in first.json() + second.json()] == [2]


class Interrupted:
    """A reading unit in which something happens after its first read of the changes."""

    def __init__(self, unit: Any, act: Callable[[], Any]) -> None:
        self._unit, self._act = unit, act
        self._acted = False

    async def __aenter__(self) -> Any:
        work = await self._unit.__aenter__()
        for name in ("last", "list"):
            setattr(work.changes, name, self._and_act(getattr(work.changes, name)))
        return work

    def _and_act(self, look: Callable[..., Any]) -> Callable[..., Any]:
        async def look_and_act(**asked: Any) -> Any:
            found = await look(**asked)
            if not self._acted:
                self._acted = True
                await self._act()
            return found

        return look_and_act

    async def __aexit__(self, *error: object) -> Any:
        return await self._unit.__aexit__(*error)


async def test_a_wait_with_a_filter_ends_with_a_matching_change(container: Container, client: AsyncClient) -> None:
    await create(client, "Alice")
    waits = asyncio.create_task(client.get("/changes/", params={"filter": 'action eq "deleted"', "wait": LONG}))
    await seen_waiting(container, 1)

    await create(client, "Bob")
    await client.patch("/users/1", json={"name": "Alicia"})
    assert not waits.done()
    deleted = await client.delete("/users/1")

    assert [str(change["seq"]) for change in (await waits).json()] == [deleted.headers["roster-seq"]]


async def test_the_link_after_a_wait_skips_changes_that_do_not_match(container: Container, client: AsyncClient) -> None:
    waits = asyncio.create_task(client.get("/changes/", params={"filter": 'kind eq "group"', "wait": LONG}))
    await seen_waiting(container, 1)
    created = await create(client, "Alice")
    container.units().release()
    page = await waits
    assert page.json() == []
    assert f"since={created.headers['roster-seq']}" in next_of(page)


BAD_FILTERS: Final = [
    ("", 0),
    ("kind", 4),
    ('kind eq "user', 8),
    ('name eq "A"', 0),
    ("seq eq 1 and before pr", 13),
    ("seq eq 1.5", 7),
]


async def test_a_malformed_filter_is_refused_with_the_position_of_the_error(client: AsyncClient) -> None:
    for filter, position in BAD_FILTERS:
        refused = await client.get("/changes/", params={"filter": filter, "wait": LONG})
        assert (refused.status_code, refused.json()["code"], refused.json()["position"]) == (400, "malformed", position)


async def test_a_filtered_follower_misses_no_change_of_many_writers(client: AsyncClient) -> None:
    """The follower sees each matching change once, with the versions of each user in order."""
    writers = asyncio.gather(*(write(client, number) for number in range(6)))
    seen, url = [], "/changes/?limit=3&filter=" + 'action eq "updated" or action eq "deleted"'
    while True:
        over = writers.done()
        page = await client.get(url)
        seen += page.json()
        url = next_of(page)
        if over and not page.json():
            break

    recorded = (await client.get("/changes/?limit=1000")).json()
    assert seen == [change for change in recorded if change["action"] in ("updated", "deleted")]
    for id in {change["entity_id"] for change in recorded}:
        assert [change["version"] for change in recorded if change["entity_id"] == id] == [1, 2, 3]
    await writers


async def write(client: AsyncClient, number: int) -> None:
    for round in range(3):
        user = (await create(client, f"U{number}.{round}")).headers["location"]
        assert (await client.patch(user, json={"status": "suspended"})).status_code == 200
        assert (await client.delete(user)).status_code == 204


async def test_a_reader_from_before_a_restore_gets_the_position_to_begin_at(
    client: AsyncClient, container: Container
) -> None:
    last = (await create(client, "Alice")).headers["roster-seq"]
    await container.units().begin_epoch()

    for path in ("/changes/", "/users/1/changes/"):
        refused = await client.get(path, params={"since": int(last) + 1})
        assert (refused.status_code, refused.json()["code"]) == (410, "position_expired")
        assert refused.headers["roster-seq"] == last
        assert f"since={last}" in refused.json()["detail"]
    assert (await client.get("/changes/", params={"since": last})).json() == []
    bob = await create(client, "Bob")
    assert [each["seq"] for each in (await client.get("/changes/", params={"since": last})).json()] == [
        int(bob.headers["roster-seq"])
    ]

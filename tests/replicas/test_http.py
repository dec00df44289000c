"""Replicas as a client sees them over HTTP."""

from collections.abc import AsyncIterator

import pytest
from dependency_injector import providers
from httpx2 import AsyncClient
from tests.api.conftest import serving
from tests.replicas.conftest import Pair, until

from api.container import Container
from api.settings import Settings


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[AsyncClient]:
    settings = Settings(database_url=pair.primary_url, replica_url=pair.replica_url, replica_lag_s=60)
    async with serving(Container(settings=providers.Object(settings))) as client:
        await client.post("/users/", json={"name": "Alice"})
        await pair.caught_up()

        async def replica_answers() -> bool:
            await client.get("/users/1")
            return await reads_at(client, "replica") > 0

        await until(replica_answers)
        yield client


async def reads_at(client: AsyncClient, place: str) -> float:
    return await figure(client, f'roster_reads_total{{place="{place}"}}')


async def figure(client: AsyncClient, name: str) -> float:
    lines = [line.rpartition(" ") for line in (await client.get("/metrics")).text.splitlines()]
    return next((float(value) for named, _, value in lines if named == name), 0)


async def test_a_client_that_sends_its_last_change_never_reads_older_data(pair: Pair, client: AsyncClient) -> None:
    async with pair.behind():
        made = await client.post("/users/", json={"name": "Bob"})
        seen = {"Roster-Min-Seq": made.headers["Roster-Seq"]}
        assert (await client.get("/users/2")).status_code == 404
        found = await client.get("/users/2", headers=seen)
        assert (found.json()["name"], found.headers["Roster-Seq"]) == ("Bob", "1")
        assert len((await client.get("/users/")).json()) == 1
        listed = await client.get("/users/", headers=seen)
        assert (len(listed.json()), listed.headers["Roster-Seq"]) == (2, "2")
        assert len((await client.get("/changes/?since=0", headers=seen)).json()) == 2


async def test_the_next_page_is_not_older_than_the_one_before(pair: Pair, client: AsyncClient) -> None:
    async with pair.behind():
        made = await client.post("/users/", json={"name": "Bob"})
        first = await client.get("/users/?limit=1", headers={"Roster-Min-Seq": made.headers["Roster-Seq"]})
        second = await client.get(first.headers["Link"].partition(">")[0][1:])
        assert [user["name"] for user in (*first.json(), *second.json())] == ["Alice", "Bob"]
        assert (await client.get("/users/?limit=1")).headers.get("Link") is None


async def test_an_answer_from_a_replica_has_the_number_of_its_last_change(client: AsyncClient) -> None:
    for path in ("/users/1", "/users/", "/changes/?since=0"):
        before = await reads_at(client, "replica")
        assert (await client.get(path)).headers["Roster-Seq"] == "1"
        assert await reads_at(client, "replica") > before


async def test_clients_without_a_last_change_read_from_the_primary(pair: Pair, client: AsyncClient) -> None:
    async with pair.behind():
        scim = {"content-type": "application/scim+json"}
        made = await client.post("/scim/v2/Users", json={"userName": "bob"}, headers=scim)
        assert (await client.get(f"/scim/v2/Users/{made.json()['id']}")).status_code == 200
        assert (await client.post("/keys/", json={"name": "k", "scopes": ["keys:admin"]})).status_code == 201


async def test_a_request_for_a_number_beyond_the_last_change_goes_to_the_primary(client: AsyncClient) -> None:
    before = await reads_at(client, "primary")
    found = await client.get("/users/1", headers={"Roster-Min-Seq": "999999"})
    assert (found.status_code, found.headers["Roster-Seq"]) == (200, "1")
    assert await reads_at(client, "primary") > before


async def test_the_metrics_show_the_lag_of_a_replica(client: AsyncClient) -> None:
    assert 0 < await figure(client, 'roster_replica_lag_seconds{replica="a local socket"}') < 60
    assert await figure(client, 'roster_pool_size{pool="replica"}') == 14

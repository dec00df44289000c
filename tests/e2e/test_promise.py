"""The promise that comes first, kept by a server process to a client over the network."""

from typing import TYPE_CHECKING

from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Run


async def test_a_fresh_server_creates_alice_and_lists_her(serve: "Run", http: AsyncClient, database_url: str) -> None:
    roster = await serve(database_url)
    url = await roster.url()

    created = await http.post(f"{url}/users/", json={"name": "Alice"})
    listed = await http.get(f"{url}/users/")

    assert (created.status_code, created.content) == (201, b'{"id":1,"name":"Alice"}')
    assert (listed.status_code, listed.content) == (200, b'[{"id":1,"name":"Alice"}]')
    assert await roster.stop() == 0
    assert roster.complained == []


async def test_a_server_that_is_started_again_still_has_her(serve: "Run", http: AsyncClient, database_url: str) -> None:
    first = await serve(database_url)
    await http.post(f"{await first.url()}/users/", json={"name": "Alice", "email": "a@b.c"})
    assert await first.stop() == 0

    second = await serve(database_url)

    listed = await http.get(f"{await second.url()}/users/")
    assert listed.json() == [{"id": 1, "name": "Alice", "email": "a@b.c"}]

"""The first promise, kept by a server process to a client over the network."""

from typing import TYPE_CHECKING

from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Run


async def test_a_created_user_is_still_there_after_a_restart(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    roster = await serve(database_url, fresh=True)
    url = await roster.url()

    created = await http.post(f"{url}/users/", json={"name": "Alice"})
    listed = await http.get(f"{url}/users/")

    assert (created.status_code, created.content) == (201, b'{"id":1,"name":"Alice"}')
    assert (listed.status_code, listed.content) == (200, b'[{"id":1,"name":"Alice"}]')
    assert await roster.stop() == 0
    assert roster.complained == []
    again = await serve(database_url)
    assert (await http.get(f"{await again.url()}/users/")).content == b'[{"id":1,"name":"Alice"}]'

"""A client whose answer was lost with the server repeats its request with the idempotency key, and gets the result."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from httpx2 import AsyncClient, TransportError

if TYPE_CHECKING:
    from tests.e2e.conftest import Run

DYING: Final = str(Path(__file__).with_name("dying_server.py"))
ALICE: Final = {"name": "Alice", "email": "alice@example.org"}
ONCE: Final = {"idempotency-key": "create-alice"}


@pytest.fixture
async def url(run: "Run", serve: "Run", http: AsyncClient, database_url: str, moment: str) -> str:
    """The URL of a server that was started after another one was killed while it created Alice."""
    dying = await run(moment, "serve", "--port", "0", program=[DYING], database_url=database_url)
    where = await dying.url()
    assert (await http.post(f"{where}/users/", json={"name": "Bob"})).status_code == 201
    with pytest.raises(TransportError):
        await http.post(f"{where}/users/", json=ALICE, headers=ONCE)
    assert await dying.ended() == -signal.SIGKILL
    return str(await (await serve(database_url)).url())


async def changes_in(http: AsyncClient, url: str) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = (await http.get(f"{url}/changes/")).json()
    return changes


@pytest.mark.parametrize("moment", ["after"])
async def test_a_request_committed_before_the_kill_gets_its_stored_answer(http: AsyncClient, url: str) -> None:
    before = await changes_in(http, url)
    (_, change) = before

    again = await http.post(f"{url}/users/", json=ALICE, headers=ONCE)

    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json() == {"id": change["entity_id"], **ALICE}
    assert (again.headers["roster-seq"], again.headers["etag"]) == (str(change["seq"]), '"1"')
    assert (await http.get(f"{url}{again.headers['location']}")).json() == again.json()
    assert await changes_in(http, url) == before


@pytest.mark.parametrize("moment", ["before"])
async def test_a_request_not_committed_before_the_kill_is_carried_out_on_repeat(http: AsyncClient, url: str) -> None:
    assert len(await changes_in(http, url)) == 1

    done = await http.post(f"{url}/users/", json=ALICE, headers=ONCE)

    assert (done.status_code, "idempotency-replayed" in done.headers) == (201, False)
    assert [change["entity_id"] for change in await changes_in(http, url)][1:] == [done.json()["id"]]

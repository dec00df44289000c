"""A server that is killed in the middle of its work has stored each acknowledged write exactly once."""

import asyncio
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from httpx2 import AsyncClient, TransportError

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


HASTY = str(Path(__file__).with_name("hasty_server.py"))
CLIENTS = 8


class Acknowledged:
    """The acknowledged users: the id of each external id."""

    def __init__(self, enough: int) -> None:
        self.ids: dict[str, int] = {}
        self.are_enough = asyncio.Event()
        self._enough = enough

    async def collect(self, http: AsyncClient, url: str, client: int) -> None:
        """Creates users one after the other until the server is gone."""
        try:
            for number in count():
                key = f"{client}-{number}"
                created = await http.post(f"{url}/users/", json={"name": key, "external_id": key})
                assert created.status_code == 201, created.text
                self.ids[key] = created.json()["id"]
                if len(self.ids) >= self._enough:
                    self.are_enough.set()
        except TransportError:
            return


async def kill_amid_creates(roster: "Roster", http: AsyncClient, *, after: int) -> Acknowledged:
    """Kills the server while clients create users, when some are acknowledged and others are being created."""
    url = await roster.url()
    acknowledged = Acknowledged(after)
    async with asyncio.timeout(120), asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            clients.create_task(acknowledged.collect(http, url, client))
        await acknowledged.are_enough.wait()
        roster.signal(signal.SIGKILL)
    assert await roster.ended() == -signal.SIGKILL
    return acknowledged


async def all_of(http: AsyncClient, url: str, since: str = "") -> list[dict[str, Any]]:
    """All items of a list or of the feed."""
    found: list[dict[str, Any]] = []
    page = await http.get(url + since)
    while page.json():
        found += page.json()
        if "next" not in page.links:
            break
        page = await http.get(str(page.url.join(page.links["next"]["url"])))
    return found


async def what_is_wrong(http: AsyncClient, url: str, acknowledged: Acknowledged) -> list[str]:
    """Every difference between the directory and the answers that clients got."""
    users = await all_of(http, f"{url}/users/?fields=id,external_id&limit=1000")
    changes = await all_of(http, f"{url}/changes/?limit=1000")
    kept = {user["external_id"]: user["id"] for user in users}
    wrong = [f"{key} is lost" for key, id in acknowledged.ids.items() if kept.get(key) != id]
    wrong += [f"{key} is there twice" for key, n in Counter(user["external_id"] for user in users).items() if n > 1]
    created = Counter(change["entity_id"] for change in changes if change["action"] == "created")
    wrong += [f"{id} has {created[id]} changes" for id in kept.values() if created[id] != 1]
    wrong += [f"{id} has a change and is not there" for id in created.keys() - set(kept.values())]
    numbers = [change["seq"] for change in changes]
    wrong += [] if numbers == sorted(set(numbers)) else ["sequence numbers come twice or out of order"]

    after = (await http.post(f"{url}/users/", json={"name": "After"})).json()["id"]
    (last,) = await all_of(http, f"{url}/users/{after}/changes/")
    wrong += [
        f"the id {after} was given out again" for id in (*kept.values(), *acknowledged.ids.values()) if id >= after
    ]
    wrong += ["a sequence number was given out again" for number in numbers if number >= last["seq"]]
    return wrong


async def test_a_killed_server_has_every_acknowledged_user_exactly_once(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    acknowledged = await kill_amid_creates(await serve(database_url), http, after=60)

    again = await serve(database_url)

    assert await what_is_wrong(http, await again.url(), acknowledged) == []
    assert await again.stop() == 0


async def test_a_server_that_answers_before_it_commits_is_detected(
    run: "Run", serve: "Run", http: AsyncClient, database_url: str
) -> None:
    hasty = await run("serve", "--port", "0", program=[HASTY], database_url=database_url)
    acknowledged = await kill_amid_creates(hasty, http, after=1)

    again = await serve(database_url)

    wrong = await what_is_wrong(http, await again.url(), acknowledged)
    assert {f"{key} is lost" for key in acknowledged.ids} & set(wrong)

"""Servers are killed at any moment while they deliver to a webhook: every change arrives, and each entity in order.

`make kills` kills 50 times on each database. On PostgreSQL two servers share the work.
"""

import asyncio
import json
import os
import random
import signal
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from httpx2 import AsyncClient, TransportError
from tests.api.delivery.conftest import Receiver, receiving

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


KILLS: Final = int(os.environ.get("ROSTER_TEST_KILLS", "2"))
SERVER: Final = (str(Path(__file__).with_name("quick_lease_server.py")),)
WRITERS: Final = 3
DEADLINE_S: Final = 120
BUSY_AFTER_S: Final = 60
"""A new server on a busy machine opens its first connections for longer than the usual 2 seconds."""


class Servers:
    """Some servers on one database. One that was killed is started again."""

    def __init__(self, serve: "Run", url: str, number: int) -> None:
        self._serve = serve
        self._url = url
        self._number = number
        self._running: list[Roster] = []
        self.urls: list[str] = []
        self.dice = random.Random(4711)

    async def start(self) -> None:
        while len(self._running) < self._number:
            roster = await self._serve(
                self._url, program=SERVER, webhooks_allow_private="true", pool_timeout_s=BUSY_AFTER_S
            )
            self._running.append(roster)
        self.urls = [await each.url() for each in self._running]

    async def kill_one(self) -> None:
        victim = self._running.pop(self.dice.randrange(self._number))
        victim.signal(signal.SIGKILL)
        await victim.ended()
        await self.start()

    async def leave_one(self) -> None:
        """Kill all but one. On a busy machine two of them might take the short lease from each other for ever, because
        neither stores anything in time."""
        while len(self._running) > 1:
            victim = self._running.pop()
            victim.signal(signal.SIGKILL)
            await victim.ended()
        self.urls = [await each.url() for each in self._running]

    def any(self) -> str:
        return self.dice.choice(self.urls)


async def write(servers: Servers, http: AsyncClient, writer: int, enough: asyncio.Event) -> None:
    """Creates and changes users, on any server that runs."""
    number = 0
    while not enough.is_set():
        number += 1
        user = {"name": f"{writer} {number}", "external_id": f"{writer}-{number % 7}"}
        try:
            await http.put(f"{servers.any()}/users/by/external-id/{user['external_id']}", json=user)
        except TransportError:
            await asyncio.sleep(0.02)


async def all_changes(http: AsyncClient, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        since = found[-1]["seq"] if found else 0
        page = await http.get(f"{url}/changes/", params={"limit": 1000, "filter": 'kind eq "user"', "since": since})
        assert page.status_code == 200, page.text
        if not page.json():
            return found
        found += page.json()


async def test_every_change_is_delivered_although_servers_are_killed(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    receiver, enough = Receiver(), asyncio.Event()
    async with receiving(receiver.handle) as port:
        receiver.port = port
        servers = Servers(serve, database_url, 1 if database_url.startswith("sqlite") else 2)
        await servers.start()
        created = await http.post(
            f"{servers.any()}/webhooks/", json={"url": receiver.url, "filter": 'kind eq "user"', "since": 0}
        )
        assert created.status_code == 201, created.text
        async with asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(write(servers, http, writer, enough))
            for _ in range(KILLS):
                await asyncio.sleep(servers.dice.random() * 1.5)
                await servers.kill_one()
            enough.set()

        await servers.leave_one()
        changes = {each["seq"]: each["entity_id"] for each in await all_changes(http, servers.any())}
        async with asyncio.timeout(DEADLINE_S):
            while changes.keys() - arrived(receiver):  # noqa: ASYNC110  # other processes deliver
                await asyncio.sleep(0.1)

    assert len(changes) > KILLS
    assert arrived(receiver) == changes.keys()
    in_order: dict[int, list[int]] = defaultdict(list)
    for seq in dict.fromkeys(seqs(receiver)):
        in_order[changes[seq]].append(seq)
    assert all(each == sorted(each) for each in in_order.values())


def seqs(receiver: Receiver) -> list[int]:
    return [json.loads(body)["data"]["seq"] for body in receiver.bodies]


def arrived(receiver: Receiver) -> set[int]:
    return set(seqs(receiver))

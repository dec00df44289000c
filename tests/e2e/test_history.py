"""Clients that read and write at once, while the server is killed, see one order of events.

`make simulation` kills it twenty times.
"""

import asyncio
import os
import signal
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from httpx2 import AsyncClient, Response, TransportError
from tests.e2e.history import History, Operation, Outcome, violations

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


CLIENTS: Final = 8
USERS: Final = 2
KILLS: Final = int(os.environ.get("HISTORY_KILLS", "1"))
UNKNOWN: Final = 503
"""The answer of a commit that was interrupted: the result is unknown."""


class Clients:
    """Clients that change the names of the same few users, some of them only at the version that they know."""

    def __init__(self, http: AsyncClient, history: History) -> None:
        self._http = http
        self._history = history
        self._known = dict.fromkeys(range(1, USERS + 1), 1)
        self._done = 0
        self._enough = asyncio.Event()
        self._wanted = 0

    async def create_users(self, url: str) -> None:
        for user in self._known:
            write = self._history.begin(user, writes=f"first-{user}")
            created = await self._http.post(f"{url}/users/", json={"name": write.value})
            assert created.json()["id"] == user
            self._note(write, created)

    async def until_it_is_killed(self, server: "Roster", after: int) -> None:
        """The clients continue until the server is killed, after so many answers."""
        self._done, self._wanted = 0, after
        self._enough.clear()
        url = await server.url()
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(self._work(url, Random(number)))
            await self._enough.wait()
            server.signal(signal.SIGKILL)
        assert await server.ended() == -signal.SIGKILL

    async def read_all(self, url: str) -> None:
        for user in self._known:
            await self._read(url, user)

    async def _work(self, url: str, random: Random) -> None:
        try:
            while True:
                user = random.choice(list(self._known))
                if random.random() < 1 / 3:
                    await self._read(url, user)
                else:
                    await self._write(url, user, conditionally=random.random() < 1 / 2)
                self._done += 1
                if self._done == self._wanted:
                    self._enough.set()
        except TransportError:
            return

    async def _read(self, url: str, user: int) -> None:
        read = self._history.begin(user)
        self._note(read, await self._http.get(f"{url}/users/{user}"))

    async def _write(self, url: str, user: int, *, conditionally: bool) -> None:
        expected = self._known[user] if conditionally else None
        write = self._history.begin(user, writes="", expected=expected)
        write.value = f"w{write.began}"
        headers = {"If-Match": f'"{expected}"'} if conditionally else {}
        self._note(write, await self._http.patch(f"{url}/users/{user}", json={"name": write.value}, headers=headers))

    def _note(self, operation: Operation, answer: Response) -> None:
        if answer.is_success:
            version = int(answer.headers["ETag"].strip('"'))
            self._known[operation.user] = max(version, self._known[operation.user])
            self._history.end(operation, Outcome.OK, version, answer.json()["name"])
        elif answer.status_code != UNKNOWN:
            assert answer.status_code == 412, answer.text
            self._history.end(operation, Outcome.REFUSED)


async def test_the_history_is_linearizable(serve: "Run", http: AsyncClient, database_url: str) -> None:
    history = History()
    clients = Clients(http, history)
    server = await serve(database_url)
    await clients.create_users(await server.url())
    for _ in range(KILLS):
        await clients.until_it_is_killed(server, after=60)
        server = await serve(database_url)
    await clients.read_all(await server.url())
    assert await server.stop() == 0

    assert list(violations(history)) == []
    outcomes = {(operation.is_write, operation.outcome) for operation in history.operations}
    assert (True, Outcome.OK) in outcomes
    assert (False, Outcome.OK) in outcomes
    assert (True, Outcome.UNKNOWN) in outcomes


def history_of(*operations: tuple[str, str, int]) -> History:
    """A history of one user, without concurrency: each operation, its value, its version."""
    history = History()
    for what, value, version in operations:
        operation = history.begin(1, writes=None if what == "read" else value)
        outcome = {"read": Outcome.OK, "write": Outcome.OK, "refused": Outcome.REFUSED}.get(what, Outcome.UNKNOWN)
        if outcome is not Outcome.UNKNOWN:
            history.end(operation, outcome, version, value)
    return history


@pytest.mark.parametrize(
    "lawful",
    [
        history_of(("write", "a", 1), ("read", "a", 1), ("write", "b", 2), ("read", "b", 2)),
        history_of(("write", "a", 1), ("unknown", "b", 0), ("read", "a", 1)),
        history_of(("write", "a", 1), ("unknown", "b", 0), ("read", "b", 2), ("write", "c", 3)),
        history_of(("write", "a", 1), ("refused", "b", 0), ("write", "c", 2)),
    ],
)
def test_a_lawful_history_has_no_violation(lawful: History) -> None:
    assert list(violations(lawful)) == []


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        pytest.param(
            history_of(("write", "a", 1), ("write", "b", 2), ("write", "c", 2)), "the same version", id="lost update"
        ),
        pytest.param(history_of(("write", "a", 1), ("write", "b", 2), ("read", "a", 1)), "came after", id="stale read"),
        pytest.param(
            history_of(("write", "a", 1), ("refused", "b", 0), ("read", "b", 2)), "was refused", id="dirty read"
        ),
        pytest.param(history_of(("write", "a", 1), ("read", "x", 1)), "nobody wrote it", id="made-up read"),
        pytest.param(history_of(("write", "a", 1), ("read", "b", 2), ("unknown", "b", 0)), "later", id="early read"),
        pytest.param(
            history_of(("write", "a", 1), ("unknown", "b", 0), ("read", "b", 2), ("write", "c", 3), ("read", "b", 4)),
            "stored twice",
            id="write that was carried out twice",
        ),
        pytest.param(
            history_of(("write", "a", 1), ("write", "b", 2), ("write", "c", 3), ("read", "a", 1)),
            "came after",
            id="acknowledged write that is lost",
        ),
    ],
)
def test_a_planted_violation_is_found(planted: History, said: str) -> None:
    assert any(said in violation for violation in violations(planted))


def test_a_write_at_an_unexpected_version_is_found() -> None:
    history = history_of(("write", "a", 1), ("write", "b", 2))
    blind = history.begin(1, writes="c", expected=1)
    history.end(blind, Outcome.OK, 3)
    assert any("was to change version 1" in violation for violation in violations(history))

"""A server takes over from another on one socket, under load, and no request fails."""

import shutil
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from httpx2 import AsyncClient
from tests.e2e.conftest import SOURCE
from tests.e2e.night.conftest import log
from tests.e2e.night.load import Load, get, mixed
from tests.e2e.test_stop import workers_of

from repositories.engines.revisions import head

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


RESTARTS: Final = 20
BETWEEN: Final = 400
"""Answers between two restarts."""

GOOD: Final = {200, 201, 404}
"""404: a client reads a user that another one has not created yet."""


async def waits_or_serves(roster: "Roster") -> None:
    """The next server is ready to take over: on SQLite as soon as the previous one releases the file."""
    events = ('"event": "serving"', '"event": "waiting for the server before this one to stop"')
    await roster.line(lambda line: any(event in line for event in events))


@pytest.mark.usefixtures("at_night")
async def test_no_request_fails_when_a_server_takes_over(
    database_url: str, serve_on: "Run", listener: socket.socket
) -> None:
    engine, _, _ = database_url.partition(":")
    arguments = [] if engine == "sqlite" else ["--workers", "2"]
    server: Roster = await serve_on(listener, database_url, *arguments, drain_s=1)
    await server.url()
    host, port = listener.getsockname()
    async with Load(host, port, mixed).running() as load:
        await load.more(BETWEEN)
        for _ in range(RESTARTS):
            after: Roster = await serve_on(listener, database_url, *arguments, drain_s=1)
            await waits_or_serves(after)
            server.signal(signal.SIGTERM)
            assert await server.ended() == 0, server.errors
            assert server.complained == []
            await after.url()
            server = after
            await load.more(BETWEEN)
    assert await server.stop() == 0

    report(f"{engine}: {RESTARTS} restarts", load)


def report(what: str, load: Load) -> None:
    longest = max(answer.seconds for answer in load.answers)
    log.info("%s, answers %s, the longest after %.2f s", what, dict(load.statuses), longest)
    assert set(load.statuses) <= GOOD
    assert load.statuses[201] > 0


def says_that_it_ended(pid: int, line: str) -> bool:
    return "worker ended" in line and f'"pid": {pid}' in line


@pytest.mark.usefixtures("at_night")
async def test_no_request_fails_when_workers_are_replaced_one_after_the_other(postgres_url: str, serve: "Run") -> None:
    server: Roster = await serve(postgres_url, "--workers", "2", drain_s=1)
    host, port = await server.address()
    before = set(workers_of(server.process.pid))
    async with Load(host, port, mixed).running() as load:
        for _ in range(RESTARTS):
            old = set(workers_of(server.process.pid))
            await load.more(BETWEEN)
            server.signal(signal.SIGHUP)
            for pid in old:
                await server.line(partial(says_that_it_ended, pid))
    assert not before & set(workers_of(server.process.pid))
    assert await server.stop() == 0

    assert server.complained == []
    assert [event for event in server.events if event["level"] == "error"] == []
    report(f"workers replaced {RESTARTS} times", load)


REVISION: Final = '''
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on, additive = "{revision}", "{before}", None, None, True

def upgrade():
    op.add_column("users", sa.Column("nickname", sa.Text()))
    op.create_table("nicknames", sa.Column("id", sa.BigInteger(), primary_key=True))

def downgrade():
    """Nobody does."""
'''


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """The environment that gives a process one more revision, which is additive."""
    source = shutil.copytree(SOURCE, tmp_path / "newer", ignore=shutil.ignore_patterns("__pycache__"))
    revision = f"{int(head()) + 1:04}"
    file = source / "repositories" / "migrations" / "versions" / f"{revision}_newer.py"
    file.write_text(REVISION.format(revision=revision, before=head()))
    return {"PYTHONPATH": str(source)}


async def require_ready(host: str, port: int) -> None:
    async with Load(host, port, lambda _: get("/health/ready"), clients=1).running() as load:
        await load.more(1)
    assert set(load.statuses) == {200}


@pytest.mark.usefixtures("at_night")
async def test_no_request_fails_in_a_rolling_upgrade_by_an_additive_revision(
    database_url: str, serve_on: "Run", run: "Run", listener: socket.socket, newer: dict[str, str]
) -> None:
    """Up: the schema, then the servers. And back: an old server on the new schema."""
    server: Roster = await serve_on(listener, database_url, drain_s=1)
    await server.url()
    host, port = listener.getsockname()
    async with Load(host, port, mixed).running() as load:
        upgrade = await run("db", "upgrade", variables=newer, database_url=database_url)
        assert await upgrade.ended() == 0, upgrade.errors
        assert "schema upgraded" in "".join(upgrade.said)
        await load.more(BETWEEN)
        await require_ready(host, port)  # the old one, on the new schema
        for variables in (newer, {}):
            after: Roster = await serve_on(listener, database_url, drain_s=1, variables=variables)
            await waits_or_serves(after)
            server.signal(signal.SIGTERM)
            assert await server.ended() == 0, server.errors
            await after.url()
            server = after
            await load.more(BETWEEN)
            await require_ready(host, port)
    assert await server.stop() == 0
    report(f"{database_url.partition(':')[0]}: upgraded and back", load)


async def test_a_server_waits_for_the_one_before_it_on_the_same_socket(
    sqlite_url: str, serve_on: "Run", run: "Run", http: AsyncClient, listener: socket.socket
) -> None:
    """A server with a socket of its own does not wait. It is refused."""
    before: Roster = await serve_on(listener, sqlite_url)
    url = await before.url()
    after: Roster = await serve_on(listener, sqlite_url)
    await waits_or_serves(after)
    stranger: Roster = await run("serve", "--port", "0", database_url=sqlite_url)
    assert await stranger.ended() == 2
    assert "Another server has" in stranger.errors
    assert (await http.post(f"{url}/users/", json={"name": "Alice"})).status_code == 201

    assert await before.stop() == 0
    assert (await http.get(f"{url}/users/")).json() == [{"id": 1, "name": "Alice"}]
    assert await after.stop() == 0
    assert before.complained == after.complained == []


async def test_workers_are_replaced_on_sighup_and_none_is_reported_as_dead(
    serve: "Run", http: AsyncClient, postgres_url: str
) -> None:
    server: Roster = await serve(postgres_url, "--workers", "2")
    url = await server.url()
    before = set(workers_of(server.process.pid))

    server.signal(signal.SIGHUP)
    for pid in before:
        await server.line(partial(says_that_it_ended, pid))

    assert not before & set(workers_of(server.process.pid))
    assert (await http.get(f"{url}/users/")).json() == []
    assert await server.stop() == 0
    assert [event for event in server.events if event["level"] == "error"] == []

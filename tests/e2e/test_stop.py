"""How a server stops: it finishes its requests, and leaves nothing locked."""

import asyncio
import fcntl
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from httpx2 import AsyncClient

from domain.keys import FIRST_ID, write_secret

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

ALICE = b'{"name":"Alice"}'
LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PATIENT = str(Path(__file__).with_name("patient_server.py"))


class SlowUpload:
    """A POST whose head and half of whose body the server has read, as its 100 Continue says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(cls, host: str, port: int) -> "SlowUpload":
        upload = cls(*await asyncio.open_connection(host, port))
        upload.writer.write(
            b"POST /users/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(ALICE)
        )
        assert await upload.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        upload.writer.write(ALICE[:5])
        await upload.writer.drain()
        return upload

    async def finish(self) -> bytes:
        self.writer.write(ALICE[5:])
        answer = await self.reader.read()
        self.writer.close()
        return answer


async def until_refused(host: str, port: int) -> None:
    """Returns when no server listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # it stopped listening just then
            continue
        writer.close()


async def test_on_sigterm_the_server_drains_and_finishes_its_requests(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    roster = await serve(database_url, drain_s=60)
    url, (host, port) = await roster.url(), await roster.address()
    upload = await SlowUpload.begin(host, port)
    assert (await http.get(f"{url}/health/ready")).status_code == 200

    async with asyncio.timeout(120):
        roster.signal(signal.SIGTERM)
        while (ready := await http.get(f"{url}/health/ready")).status_code == 200:
            pass
        assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
        assert (await http.get(f"{url}/users/")).json() == []  # it serves on while it drains

        roster.signal(signal.SIGTERM)  # no need to wait for the minute
        await until_refused(host, port)
        answer = await upload.finish()

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert answer.endswith(b'\r\n\r\n{"id":1,"name":"Alice"}')
    assert await roster.ended() == 0
    assert roster.complained == []


async def test_while_the_server_drains_it_closes_connections_after_each_answer(
    serve: "Run", http: AsyncClient, sqlite_url: str
) -> None:
    """Clients then connect to another server. Closing between two requests could lose one that was just sent."""
    roster = await serve(sqlite_url, drain_s=60)
    url = await roster.url()
    before = await http.get(f"{url}/users/")
    roster.signal(signal.SIGTERM)
    async with asyncio.timeout(120):
        while (await http.get(f"{url}/health/ready")).status_code == 200:
            pass
    while_it_drains = await http.get(f"{url}/users/")

    assert before.headers.get("connection") is None
    assert while_it_drains.headers["connection"] == "close"


async def test_a_connection_accepted_before_the_stop_gets_its_first_answer(run: "Run", sqlite_url: str) -> None:
    roster: Roster = await run("serve", "--port", "0", program=[PATIENT], database_url=sqlite_url)
    host, port = await roster.address()
    fresh = await asyncio.open_connection(host, port)
    reader, writer = await asyncio.open_connection(host, port)  # they are taken in their order
    writer.write(LIVE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    async with asyncio.timeout(120):
        roster.signal(signal.SIGTERM)
        await until_refused(host, port)
        fresh[1].write(LIVE)
        answer = await fresh[0].read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert await roster.ended() == 0
    writer.close()
    fresh[1].close()


async def test_an_interrupt_stops_the_server_without_an_error(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    roster = await serve(database_url)
    await http.post(f"{await roster.url()}/users/", json={"name": "Alice"})

    roster.signal(signal.SIGINT)

    assert await roster.ended() == 0
    assert roster.complained == []
    assert [event for event in roster.events if event["level"] in ("error", "critical")] == []


async def test_a_stopped_server_leaves_its_file_unlocked_and_intact(
    serve: "Run", http: AsyncClient, sqlite_url: str, tmp_path: Path
) -> None:
    roster = await serve(sqlite_url)
    await http.post(f"{await roster.url()}/users/", json={"name": "Alice"})
    assert await roster.stop() == 0

    connection = sqlite3.connect(tmp_path / "roster.db", timeout=0, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    assert connection.execute("SELECT name FROM users").fetchall() == [("Alice",)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    descriptor = os.open(tmp_path / "roster.db-lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    assert not (tmp_path / "roster.db-wal").exists()


async def test_workers_on_postgres_serve_and_stop(serve: "Run", http: AsyncClient, postgres_url: str) -> None:
    roster = await serve(postgres_url, "--workers", "2", pool_size=3)
    url = await roster.url()
    assert 'roster_pool_size{pool="read"} 6.0' in (await http.get(f"{url}/metrics")).text  # both of them serve

    created = [await http.post(f"{url}/users/", json={"name": f"u{number}"}) for number in range(5)]

    assert [answer.json()["id"] for answer in created] == [1, 2, 3, 4, 5]
    assert await roster.stop() == 0
    assert roster.complained == []
    assert [event["event"] for event in roster.events if event["event"] in LIFE] == [
        "starting", "serving", "draining", "draining", "stopped",
    ]  # fmt: skip
    assert [event for event in roster.events if event["level"] in ("error", "critical")] == []


LIFE = {"starting", "serving", "draining", "stopped", "worker died", "worker started in its place"}


async def test_the_log_shows_the_life_of_a_server(serve: "Run", http: AsyncClient, sqlite_url: str) -> None:
    key = write_secret(FIRST_ID, "s" * 32)
    roster = await serve(sqlite_url, bootstrap_key=key, drain_s=0)
    url = await roster.url()
    for path in ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
        assert (await http.get(url + path)).status_code == 200
    wrong = write_secret(7, "w" * 32)
    assert (await http.get(f"{url}/users/", headers={"authorization": f"Bearer {wrong}"})).status_code == 401
    assert await roster.stop() == 0

    events = roster.events
    assert [event["event"] for event in events if event["event"] in LIFE] == [
        "starting", "serving", "draining", "stopped",
    ]  # fmt: skip
    assert [event["operation"] for event in events if event["event"] == "request"] == ["docs", "openapi", "list_users"]
    assert next(event for event in events if event["event"] == "key seeded")["key"] == FIRST_ID
    warned = next(event for event in events if event["event"] == "wrong key")
    assert (warned["level"], warned["key"], warned["client"]) == ("warning", 7, "127.0.0.1")
    assert wrong not in "".join(roster.said)


async def test_a_worker_that_dies_is_logged_and_replaced(serve: "Run", http: AsyncClient, postgres_url: str) -> None:
    roster = await serve(postgres_url, "--workers", "2")
    url = await roster.url()
    await http.get(f"{url}/users/")
    workers = workers_of(roster.process.pid)
    os.kill(workers[0], signal.SIGKILL)

    died = json.loads(await roster.line(lambda line: '"event": "worker died"' in line))
    await roster.line(lambda line: '"event": "worker started in its place"' in line)

    assert (died["level"], died["pid"]) == ("error", workers[0])
    assert await roster.stop() == 0


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

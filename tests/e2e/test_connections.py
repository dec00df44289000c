"""Hostile connections: they end within their bounds, and others are served meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

IMPATIENT = str(Path(__file__).with_name("impatient_server.py"))
GET = b"GET /users/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /users/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def impatient(run: "Run", sqlite_url: str) -> "Roster":
    """A server with short time-outs."""
    roster: Roster = await run("serve", "--port", "0", program=[IMPATIENT], database_url=sqlite_url)
    await roster.url()
    return roster


@asynccontextmanager
async def connection(roster: "Roster") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*await roster.address())
    async with asyncio.timeout(120):
        try:
            yield reader, writer
        finally:
            writer.close()


async def everything(roster: "Roster", *sent: bytes) -> bytes:
    """Everything that the server sends after some bytes, until it closes the connection."""
    async with connection(roster) as (reader, writer):
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def answer_from(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection that stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def problem_in(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json\r\n" in head + b"\r\n"
    assert b"connection: close" in head
    document: dict[str, Any] = json.loads(body)
    assert f"x-request-id: {document['request_id']}".encode() in head
    assert head.startswith(f"HTTP/1.1 {document['status']} {document['title']}".encode())
    return document


HALF_OPEN = {
    "nothing sent": b"",
    "half a request line": b"GET /us",
    "half a head": b"GET /users/ HTTP/1.1\r\nHost: 127.0",
    "half a body": POST + b'Content-Length: 100\r\n\r\n{"name":',
    "half a chunk": POST + b'Transfer-Encoding: chunked\r\n\r\n64\r\n{"name":',
    "half a body that nobody reads": b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
    "half a body of an unknown path": b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
    "a body announced too large": POST + b"Content-Length: 9999999\r\n\r\nx",
    "a whole request, then half a head": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /he",
    "a whole request, then silence": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def drip(writer: asyncio.StreamWriter) -> None:
    """Some more of a body that never ends, again and again."""
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def drip_unread(roster: "Roster") -> bytes:
    """The answer to a request with an endless body that nobody reads, until the connection is closed."""
    async with connection(roster) as (reader, writer):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        dripping = asyncio.create_task(drip(writer))
        answer = await reader.readuntil(b"}")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        finally:
            dripping.cancel()
    return answer


async def test_half_open_connections_are_closed_and_others_served(impatient: "Roster", http: AsyncClient) -> None:
    url = await impatient.url()
    half_open = [asyncio.create_task(everything(impatient, sent)) for sent in HALF_OPEN.values()]
    dripping = asyncio.create_task(drip_unread(impatient))
    assert (await http.post(f"{url}/users/", json={"name": "Alice"})).status_code == 201

    answers = dict(zip(HALF_OPEN, await asyncio.gather(*half_open), strict=True))

    assert {name: answer[9:12] for name, answer in answers.items()} == {
        "nothing sent": b"",
        "half a request line": b"",
        "half a head": b"",
        "half a body": b"408",
        "half a chunk": b"408",
        "half a body that nobody reads": b"200",
        "half a body of an unknown path": b"404",
        "a body announced too large": b"413",
        "a whole request, then half a head": b"200",
        "a whole request, then silence": b"200",
    }
    assert all(answer.count(b"HTTP/1.1 ") <= 1 for answer in answers.values())
    assert (await dripping).startswith(b"HTTP/1.1 200 ")
    assert (await http.get(f"{url}/users/")).content == b'[{"id":1,"name":"Alice"}]'


async def test_bytes_that_are_not_http_are_refused_with_a_problem(
    serve: "Run", sqlite_url: str, http: AsyncClient
) -> None:
    roster = await serve(sqlite_url)
    garbage = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello \r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT example.org:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n{}",
        POST + b"Content-Length: -1\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ]

    for line in (b"OPTIONS *", b"GET *", b"GET http://example.org/nowhere"):  # that is HTTP, but nothing here
        answer = await everything(roster, line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert problem_in(answer)["status"] == 404, line

    for sent in garbage:
        assert problem_in(await everything(roster, sent))["status"] == 400, sent

    heads = [b"A: " + b"x" * 100_000, b"\r\n".join(b"A-%d: %s" % (n, b"x" * 90) for n in range(1000))]
    for many in heads:
        for end in (b"", b"\r\n\r\n"):
            answer = await everything(roster, b"GET /users/ HTTP/1.1\r\nHost: x\r\n" + many + end)
            assert problem_in(answer)["status"] == 431
    assert problem_in(await everything(roster, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"))["status"] == 431
    large = GET + b"A: " + b"x" * 40_000 + b"\r\n\r\n"
    async with connection(roster) as (reader, writer):
        writer.write(large)
        assert (await answer_from(reader))[::2] == (200, b"[]")
    logged = [event["status"] for event in roster.events if event["event"] == "refused"]
    assert logged == [400] * len(garbage) + [431] * 5
    assert roster.complained == []


async def test_pipelined_requests_are_answered_in_order(serve: "Run", database_url: str) -> None:
    roster = await serve(database_url)
    bodies = [json.dumps({"name": f"u{number}"}).encode() for number in range(20)]
    posts = [POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]

    async with connection(roster) as (reader, writer):
        writer.write(b"".join(post + GET + b"\r\n" for post in posts))
        answers = [await answer_from(reader) for _ in range(40)]

    assert [status for status, _, _ in answers] == [201, 200] * 20
    assert [json.loads(body) for _, _, body in answers[::2]] == [{"id": n + 1, "name": f"u{n}"} for n in range(20)]
    assert [len(json.loads(body)) for _, _, body in answers[1::2]] == list(range(1, 21))


async def test_a_request_followed_by_garbage_gets_its_answer(serve: "Run", sqlite_url: str) -> None:
    roster = await serve(sqlite_url)
    post = POST + b'Content-Length: 16\r\n\r\n{"name":"Alice"}'

    for garbage in (b"garbage\r\n\r\n", b"GET /" + b"x" * 100_000):
        answer = await everything(roster, post + garbage)
        assert answer.startswith(b"HTTP/1.1 201 "), answer
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_an_offer_to_upgrade_the_protocol_is_ignored(serve: "Run", sqlite_url: str) -> None:
    """Java's client sends it with the first request of each connection, and continues with HTTP/1.1."""
    roster = await serve(sqlite_url)
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n\r\n"

    async with connection(roster) as (reader, writer):
        for _ in range(2):
            writer.write(GET + offer)
            assert (await answer_from(reader))[::2] == (200, b"[]")
            writer.write(GET + b"\r\n")
            assert (await answer_from(reader))[::2] == (200, b"[]")

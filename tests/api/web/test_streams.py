"""Whole lists as streams: their content, how to request them, and what happens when the client does not read."""

import asyncio
import csv
import io
import json
import socket
import sqlite3
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from functools import partial
from typing import Any, Final, cast

import pytest
import sqlalchemy as sa
import structlog
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, RemoteProtocolError, Response
from tests import exports

import api.process.protocol
import api.web.streams
from api.app import create_app
from api.container import Container
from api.web.streams import Pace
from domain.limits import LIMITS, Limits
from domain.lists.pages import MAX_LIMIT, JsonPage
from domain.work import RequestContext
from repositories.engines.postgres.database import PostgresDatabase
from repositories.fake import MemoryUnitsOfWork
from services.users import UserService

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
CSV_TYPE: Final = "text/csv; charset=utf-8"
DEADLINE_S: Final = 30
"""How long anything may take on a slow machine before a test fails."""

ContainerAt = Callable[[str], Container]
Serving = Callable[[Container], AbstractAsyncContextManager[Any]]


class Reader:
    """A client without a network: it reads an answer message by message, does not read, or disconnects."""

    def __init__(self, app: FastAPI, accept: str = NDJSON, query: str = "") -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)
        self._sent = asyncio.Event()
        self._gone = asyncio.Event()
        scope = {
            "type": "http", "asgi": {"spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "path": "/users/", "raw_path": b"/users/", "root_path": "", "scheme": "http",
            "query_string": query.encode(), "client": ("test", 1),
            "headers": [(b"host", b"localhost"), (b"accept", accept.encode())],
        }  # fmt: skip
        self.served = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._sent.set()
        await self._messages.put(message)

    async def is_sent_something(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._sent.wait()

    async def message(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            return await self._messages.get()

    async def start(self) -> tuple[int, Mapping[str, str]]:
        message = await self.message()
        return message["status"], {name.decode(): value.decode() for name, value in message["headers"]}

    async def rest(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self.message()
            more = message.get("more_body", False)
            yield message["body"]

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(DEADLINE_S):
            await self.served

    async def left_alone(self) -> None:
        """The stream ends although nobody reads."""
        async with asyncio.timeout(DEADLINE_S):
            await self.served


@asynccontextmanager
async def app_on(container: Container) -> AsyncIterator[FastAPI]:
    app = create_app(container, open_locally=True)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def container(database_container: Container) -> Container:
    return database_container


@pytest.fixture
async def app(container: Container) -> AsyncIterator[FastAPI]:
    async with app_on(container) as app:
        yield app


@pytest.fixture
async def reading(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        yield client


NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
MOMENT: Final = "2026-01-01T00:00:00.000000+00:00"


async def insert_users(container: Container, count: int) -> None:
    """Writes users with the names u1, u2, … into the table directly."""
    async with container.database().transaction() as executor:
        await executor.fetch(
            sa.text(
                "INSERT INTO users (name, name_key, status, attributes, created_at, updated_at, version) "
                f"{NUMBERS} SELECT 'u' || i, 'u' || i, 'active', '{{}}', '{MOMENT}', '{MOMENT}', 1 FROM n"
            ),
            {"count": count},
            last=True,
        )


async def no_snapshot_is_open(container: Container) -> None:
    """Waits until no place for a stream is taken and no connection is in a transaction."""
    await come_true(partial(is_free, container))


async def come_true(state: Callable[[], Awaitable[bool]]) -> None:
    """Polls until the condition holds, since there is no event for it."""
    async with asyncio.timeout(DEADLINE_S):
        while not await state():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def is_free(container: Container) -> bool:
    """Whether nobody reads an old state. Then SQLite can empty its log, and PostgreSQL has no other transaction."""
    units, database = container.units(), cast("Any", container.database())
    if units._snapshots._taken.total():
        return False
    if isinstance(database, PostgresDatabase):
        ((open_transactions,),) = await database.reader.fetch(
            sa.select(sa.literal_column("count(*)"))
            .select_from(sa.table("pg_stat_activity"))
            .where(sa.text("datname = current_database() AND application_name = 'roster'"))
            .where(sa.text("xact_start IS NOT NULL AND pid <> pg_backend_pid()"))
        )
        return bool(open_transactions == 0)
    with closing(sqlite3.connect(database._path, timeout=0, isolation_level=None)) as other:
        ((busy, _, _),) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return bool(busy == 0)


async def create(client: AsyncClient, **body: object) -> None:
    answer = await client.post("/users/", json=body)
    assert answer.status_code == 201, answer.text


async def ask(client: AsyncClient, accept: str, **query: str) -> Response:
    return await client.get("/users/", params=query, headers={"accept": accept})


async def test_ndjson_is_a_line_for_each_user_as_a_page_shows_it(reading: AsyncClient) -> None:
    await create(reading, name="Alice", email="alice@example.org", attributes={"note": "a\nb"})
    await create(reading, name="Bob\r\n")

    streamed = await ask(reading, NDJSON)

    assert (streamed.status_code, streamed.headers["content-type"]) == (200, NDJSON)
    assert [json.loads(line) for line in streamed.text.splitlines()] == (await reading.get("/users/")).json()
    assert streamed.text.endswith("}\n")


async def test_csv_is_a_line_of_names_and_one_for_each_user(reading: AsyncClient) -> None:
    await create(reading, name="Alice", email="alice@example.org", attributes={"a": 1})

    streamed = await ask(reading, CSV)

    assert (streamed.status_code, streamed.headers["content-type"]) == (200, CSV_TYPE)
    (names, alice) = csv.reader(io.StringIO(streamed.text, newline=""))
    row = dict(zip(names, alice, strict=True))
    shown = (await reading.get("/users/1?fields=*")).json()
    assert list(shown) == names
    assert row == {
        **{name: "" if value is None else str(value) for name, value in shown.items()},
        "attributes": '{"a":1}',
    }


async def test_a_stream_of_nobody_is_empty_except_for_the_header_of_csv(reading: AsyncClient) -> None:
    assert (await ask(reading, NDJSON)).content == b""
    assert (await ask(reading, CSV, fields="id,name")).content == b"id,name\r\n"


async def test_a_stream_is_filtered_and_sorted_and_has_the_requested_fields(reading: AsyncClient) -> None:
    for name, status in (("Alice", "active"), ("Bob", "suspended"), ("Carol", "active")):
        await create(reading, name=name, status=status)
    query = {"filter": 'status eq "active"', "sort": "-name", "fields": "name,email"}

    assert (await ask(reading, CSV, **query)).text == "name,email\r\nCarol,\r\nAlice,\r\n"
    assert (await ask(reading, NDJSON, **query)).text == (
        '{"name":"Carol","email":null}\n{"name":"Alice","email":null}\n'
    )
    assert (await ask(reading, NDJSON, status="suspended")).text == '{"id":2,"name":"Bob","status":"suspended"}\n'


@pytest.mark.parametrize("sort", ["id", "-name", "email,-id"])
async def test_a_stream_of_many_batches_has_every_user_once(
    sort: str, reading: AsyncClient, container: Container
) -> None:
    count = 2 * MAX_LIMIT + 3
    await insert_users(container, count)

    lines = (await ask(reading, CSV, sort=sort, fields="id")).text.splitlines()

    assert lines[0] == "id"
    assert sorted(int(line) for line in lines[1:]) == list(range(1, count + 1))


PREFERENCES: Final = {
    "*/*": JSON,
    "": JSON,
    "application/json": JSON,
    "application/x-ndjson": NDJSON,
    "text/csv": CSV,
    "Text/CSV; header=present": CSV,
    "text/csv;charset=utf-8;q=0.9": CSV,
    "text/csv, application/json": JSON,
    "text/csv;q=0.9, application/json;q=0.8": CSV,
    "text/csv;q=0.8, application/x-ndjson;q=0.9, application/json;q=0.1": NDJSON,
    "text/csv;q=0, */*": JSON,
    "application/json;q=0, text/csv;q=0, */*": NDJSON,
    "application/json;q=0.5, text/*;q=0.6": CSV,
    "application/*": JSON,
    "text/*": CSV,
    "text/csv;q=0.001": CSV,
    "text/csv;q=0": JSON,
    "text/html": JSON,
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8": JSON,
    "text/csv;q=nan": JSON,
    "text/csv;q=inf, application/json": JSON,
    "text/csv;q=2, application/json": JSON,
    "text/csv;q=1_0, application/json": JSON,
    "text/csv;q=, application/json;q=0.1": JSON,
    ";,;q=,,": JSON,
}


@pytest.mark.parametrize("accept", PREFERENCES)
async def test_the_client_gets_the_format_it_prefers_and_vary_tells_caches(client: AsyncClient, accept: str) -> None:
    answer = await ask(client, accept)

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == PREFERENCES[accept]
    assert answer.headers["vary"] == "Accept"


async def test_several_lines_of_accept_are_one_list(client: AsyncClient) -> None:
    headers = [("accept", "application/json;q=0.1"), ("accept", "text/csv;q=0.2")]

    assert (await client.get("/users/", headers=headers)).headers["content-type"] == CSV_TYPE


@pytest.mark.parametrize("accept", [NDJSON, CSV])
@pytest.mark.parametrize("query", [{"limit": "10"}, {"cursor": "x"}, {"count": "true"}, {"count": "false"}])
async def test_a_page_of_a_stream_is_refused(client: AsyncClient, accept: str, query: dict[str, str]) -> None:
    refused = await ask(client, accept, **query)

    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert [error["pointer"] for error in refused.json()["errors"]] == [f"/query/{name}" for name in query]


@pytest.mark.parametrize(
    ("query", "status"), [({"filter": "nmae pr"}, 400), ({"sort": "nmae"}, 400), ({"fields": "nmae"}, 422)]
)
async def test_a_refused_stream_is_a_problem_document(
    reading: AsyncClient, container: Container, query: dict[str, str], status: int
) -> None:
    refused = await ask(reading, CSV, **query)

    assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
    await no_snapshot_is_open(container)


@pytest.mark.parametrize("accept", [NDJSON, CSV])
async def test_head_returns_the_headers_and_reads_no_users(
    reading: AsyncClient, container: Container, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_users(container, MAX_LIMIT + 1)
    got = await ask(reading, accept)
    monkeypatch.setattr(api.web.streams, "cut", pytest.fail)
    head = await reading.head("/users/", headers={"accept": accept})

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "vary", "content-length"):
        assert head.headers.get(name) == got.headers.get(name)
    await no_snapshot_is_open(container)


FORMULAS: Final = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"]  # noqa: RUF001


@pytest.mark.parametrize("text", FORMULAS)
async def test_a_value_that_looks_like_a_formula_gets_an_apostrophe(client: AsyncClient, text: str) -> None:
    await create(client, name="A", username=text, external_id=text, email=text, attributes={text: text})

    (_, row) = csv.reader(
        io.StringIO((await ask(client, CSV, fields="username,external_id,email,attributes")).text, newline="")
    )

    assert row[:3] == [f"'{text}"] * 3
    assert row[3].startswith("{")
    assert json.loads(row[3]) == {text: text}


@pytest.mark.parametrize("text", ["plain", "a=b", "'quoted", "1-2", " =1", "“=1”"])
async def test_a_value_that_is_not_a_formula_is_unchanged(client: AsyncClient, text: str) -> None:
    await create(client, name="A", external_id=text)

    (_, row) = csv.reader(io.StringIO((await ask(client, CSV, fields="external_id")).text, newline=""))

    assert row == [text]


async def test_csv_quotes_follow_rfc_4180(client: AsyncClient) -> None:
    await create(client, name='Ann "A", Lee', external_id="two\r\nlines", username="ä,😀", attributes={"a": 'b",\n'})

    streamed = await ask(client, CSV, fields="name,external_id,username,attributes,email")

    assert (
        streamed.content
        == (
            "name,external_id,username,attributes,email\r\n"
            '"Ann ""A"", Lee","two\r\nlines","ä,😀","{""a"":""b\\"",\\n""}",\r\n'
        ).encode()
    )


async def test_a_client_that_goes_away_frees_the_snapshot(app: FastAPI, container: Container) -> None:
    await insert_users(container, 3 * MAX_LIMIT)
    reader = Reader(app)
    await reader.start()
    await reader.message()
    assert not await is_free(container)

    await reader.leave()

    await no_snapshot_is_open(container)


async def test_a_client_that_goes_away_before_the_first_piece_frees_the_snapshot(
    app: FastAPI, container: Container
) -> None:
    await insert_users(container, 2 * MAX_LIMIT)
    reader = Reader(app)
    await reader.is_sent_something()

    await reader.leave()

    await no_snapshot_is_open(container)


async def test_a_client_that_goes_away_while_a_batch_is_read_frees_the_snapshot(
    app: FastAPI, container: Container
) -> None:
    await insert_users(container, 4 * MAX_LIMIT)
    reader = Reader(app)
    await reader.start()
    for _ in range(2):  # the next batch is being read
        await reader.message()
    await asyncio.sleep(0)

    await reader.leave()

    await no_snapshot_is_open(container)


HASTY: Final = [
    Limits(stream_patience_s=0.05, stream_bytes_per_s=1e9),
    Limits(stream_s=0.05),
]


@pytest.mark.parametrize("limits", HASTY)
async def test_a_client_that_does_not_read_is_disconnected(app: FastAPI, container: Container, limits: Limits) -> None:
    container.settings.override(providers.Object(container.settings().model_copy(update={"limits": limits})))
    await insert_users(container, 2 * MAX_LIMIT)
    with structlog.testing.capture_logs() as logs:
        reader = Reader(app)
        await reader.start()
        await reader.left_alone()

    assert "a client read its stream too slowly" in [line["event"] for line in logs]
    assert (await reader.message())["more_body"]  # and the stream is not marked as complete
    assert reader._messages.empty()
    await no_snapshot_is_open(container)


def is_served_to_the_end(limits: Limits, pieces: Sequence[tuple[int, float]]) -> bool:
    """Whether a client that accepts each piece, of so many bytes, after so many seconds, gets all of them."""
    pace = Pace(limits)
    for size, seconds in pieces:
        if seconds > pace.time_for(size):
            return False
        pace.took(size, seconds)
    return True


def test_a_client_may_be_slower_than_the_minimum_rate_only_for_a_while() -> None:
    limits = Limits(stream_bytes_per_s=1000, stream_patience_s=10)
    assert is_served_to_the_end(limits, [(1000, 1.0)] * 1000)
    assert is_served_to_the_end(limits, [(1000, 11.0), (1000, 1.0)])
    assert is_served_to_the_end(limits, [(1000, 11.0), *[(1000, 0.5)] * 20, (1000, 11.0)])
    assert not is_served_to_the_end(limits, [(1000, 1.2)] * 100)
    assert not is_served_to_the_end(limits, [(1000, 11.0), (1000, 1.5)])


def test_bytes_in_network_buffers_do_not_excuse_a_slow_client() -> None:
    """Buffers accept megabytes at once. Afterwards the client still has to keep the minimum rate."""
    limits = Limits(stream_bytes_per_s=1000, stream_patience_s=10)
    assert not is_served_to_the_end(limits, [(4_000_000, 0.0), (1000, 11.5)])


async def test_a_stream_beyond_the_bound_is_refused_with_retry_after_and_blocks_no_read(
    app: FastAPI, reading: AsyncClient, container: Container
) -> None:
    await insert_users(container, 2 * MAX_LIMIT)
    readers = [Reader(app) for _ in range(LIMITS.snapshots_per_key)]
    for reader in readers:
        assert (await reader.start())[0] == 200

    refused = await ask(reading, NDJSON)
    others = [await reading.get(path) for path in ("/users/1", "/users/?sort=name", "/changes/")]
    await readers.pop().leave()
    again = await ask(reading, NDJSON)
    for reader in readers:
        await reader.leave()

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "busy", "1")
    assert [other.status_code for other in others] == [200] * 3
    assert again.status_code == 200
    await no_snapshot_is_open(container)


async def test_a_stream_takes_no_more_memory_for_more_users(app: FastAPI, container: Container) -> None:
    await insert_users(container, 20_000)
    users = container.users(RequestContext(actor="tester", request_id="r1"))

    async def streamed() -> int:
        reader = Reader(app)
        await reader.start()
        return sum([piece.count(b"\n") async for piece in reader.rest()])

    async def collected() -> int:
        return len(await exports.everything(users.export(exports.USERS)))

    await streamed()  # what is kept for good, such as compiled statements, is kept now
    lines, most = await peak_of(streamed())
    everybody, most_of_twin = await peak_of(collected())

    assert lines == everybody == 20_000
    assert most < 4_000_000 < most_of_twin


async def peak_of(work: Any) -> tuple[int, int]:
    """The result of the work, and its peak memory."""
    tracemalloc.start()
    try:
        return await work, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def failing_export(monkeypatch: pytest.MonkeyPatch) -> None:
    export = UserService.export

    async def fails(self: UserService, *shown: Any, **asked: Any) -> AsyncGenerator[JsonPage]:
        async with aclosing(export(self, *shown, **asked)) as batches:
            async for batch in batches:
                yield batch
                raise ValueError("the disk is gone")

    monkeypatch.setattr(UserService, "export", fails)


@pytest.mark.usefixtures("failing_export")
@pytest.mark.parametrize("accept", [NDJSON, CSV])
async def test_a_failure_in_the_middle_of_a_stream_aborts_the_connection(
    container: Container, served: Serving, accept: str
) -> None:
    headers = {"accept": accept}
    async with served(container) as server:
        await insert_users(container, 2)
        received: list[bytes] = []
        with structlog.testing.capture_logs() as logs:
            async with (
                AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http,
                http.stream("GET", "/users/", headers=headers) as answer,
            ):
                with pytest.raises(RemoteProtocolError):
                    await read_into(received, answer)

        assert "failed" in [line["event"] for line in logs]
        assert answer.status_code == 200
        assert b"u2" in b"".join(received)
        await no_snapshot_is_open(container)


async def read_into(received: list[bytes], answer: Response) -> None:
    async for piece in answer.aiter_bytes():
        received.append(piece)  # noqa: PERF401  # a comprehension would lose them with the error


async def test_a_stream_is_sent_over_the_network_and_the_connection_stays_usable(
    container: Container, served: Serving
) -> None:
    async with served(container) as server, AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        await insert_users(container, 2 * MAX_LIMIT + 1)
        for _ in range(2):
            answer = await http.get("/users/?fields=id", headers={"accept": CSV})
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.text.count("\r\n") == 2 * MAX_LIMIT + 2
        assert len(server.server.server_state.connections) == 1


async def test_a_connection_whose_client_does_not_read_is_cut_off(
    container: Container, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.settings.override(providers.Object(container.settings().model_copy(update={"limits": HASTY[0]})))
    monkeypatch.setattr(api.process.protocol, "STALL_TIMEOUT_S", 0.2)
    async with served(container) as server:
        connections = server.server.server_state.connections

        async def has_one() -> bool:
            return len(connections) == 1

        async def has_none() -> bool:
            return not connections

        await insert_users(container, 50_000)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = f"GET /users/?fields=* HTTP/1.1\r\nhost: localhost\r\naccept: {NDJSON}\r\n\r\n"
            client.sendall(request.encode())
            await come_true(has_one)
            await come_true(has_none)

        await no_snapshot_is_open(container)


async def test_a_stream_on_the_fake_is_the_same(client: AsyncClient, in_memory: Container) -> None:
    assert isinstance(in_memory.units(), MemoryUnitsOfWork)
    await create(client, name="Alice")

    assert (await ask(client, NDJSON)).text == '{"id":1,"name":"Alice"}\n'

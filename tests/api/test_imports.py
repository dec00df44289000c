"""Imports over HTTP: a file is sent, a report returned."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from dependency_injector import providers
from httpx2 import AsyncClient, Response

from api.container import Container
from api.settings import Settings
from domain.errors import Busy
from domain.imports import SERVER_BATCH
from domain.keys import Scope
from domain.limits import Limits
from repositories.fake import MemoryUnitsOfWork
from services.imports.service import ImportService

if TYPE_CHECKING:
    from tests.api.conftest import Directory

NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv; charset=utf-8"}
PEOPLE = (
    b'{"kind":"group","name":"Engineers"}\n{"name":"Alice","external_id":"a","groups":["Engineers"]}\n{"name":""}\n'
)


def lines(answer: Response) -> list[Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def result(answer: Response) -> dict[str, int]:
    counts: dict[str, int] = lines(answer)[-1]["result"]
    return {name: number for name, number in counts.items() if number}


async def test_good_rows_are_stored_and_bad_ones_reported_with_their_lines(client: AsyncClient) -> None:
    answer = await client.post("/imports/", content=PEOPLE, headers=NDJSON)

    rejected, progress, end = lines(answer)
    assert rejected == {
        "line": 3,
        "done": "rejected",
        "kind": "user",
        "errors": [{"pointer": "/name", "code": "too_short", "detail": "Must not be blank."}],
    }
    assert progress["progress"]["rows"] == 3
    assert {name: number for name, number in end["result"].items() if number} == {
        "rows": 3,
        "created": 2,
        "rejected": 1,
        "seq": 3,
    }
    assert (await client.get("/groups/1/members/")).json() == [{"group_id": 1, "user_id": 1}]
    changes = (await client.get("/changes/")).json()
    assert {each["request_id"] for each in changes} == {answer.headers["x-request-id"]}


async def test_a_dry_run_shows_what_each_row_would_change_and_stores_nothing(client: AsyncClient) -> None:
    await client.post("/imports/", content=PEOPLE, headers=NDJSON)
    answer = await client.post(
        "/imports/?mode=upsert&dry_run=true",
        content=b'{"external_id":"a","name":"Alicia","groups":[]}\n{"name":"Bob","external_id":"b"}\n',
        headers=NDJSON,
    )
    assert answer.headers["dry-run"] == "true"
    assert lines(answer)[:2] == [
        {
            "line": 1,
            "done": "updated",
            "kind": "user",
            "id": 1,
            "before": {"name": "Alice"},
            "after": {"name": "Alicia"},
            "left": ["Engineers"],
        },
        {
            "line": 2,
            "done": "created",
            "kind": "user",
            "id": 2,
            "after": {"name": "Bob", "external_id": "b", "status": "active", "attributes": {}},
        },
    ]
    assert [user["name"] for user in (await client.get("/users/")).json()] == ["Alice"]


async def test_the_columns_of_a_table_can_be_mapped_to_fields(client: AsyncClient) -> None:
    answer = await client.post(
        "/imports/",
        params={"map": ["E-Mail=email", "Notes="], "report": "all"},
        content="\ufeffname;E-Mail;Notes\r\nMüller;m@x.org;\r\n".encode(),
        headers=CSV,
    )
    assert lines(answer)[0]["after"]["email"] == "m@x.org"


@pytest.mark.parametrize(
    ("path", "headers", "content", "refusal"),
    [
        ("/imports/", {"content-type": "application/json"}, b"{}", (415, "unsupported_media_type")),
        ("/imports/", {}, b"", (415, "unsupported_media_type")),
        ("/imports/?max_delete=much", NDJSON, b"", (422, "invalid")),
        ("/imports/?map=x", CSV, b"", (422, "invalid")),
        ("/imports/?mode=other", NDJSON, b"", (422, "invalid")),
        ("/imports/?match=id", NDJSON, b"", (422, "invalid")),
        ("/imports/", CSV, b"secret\nB\n", (400, "malformed")),
        ("/imports/", CSV, b"name\nM\xfc\n", (400, "malformed")),
        ("/imports/?mode=sync", NDJSON, b'{"name":"x"}', (400, "malformed")),
        ("/imports/?mode=sync", NDJSON, b"", (409, "too_many_deletions")),
    ],
)
async def test_a_refused_import_is_a_problem_and_stores_nothing(
    client: AsyncClient, path: str, headers: dict[str, str], content: bytes, refusal: tuple[int, str]
) -> None:
    await client.post("/users/", json={"name": "Alice", "external_id": "a"})
    refused = await client.post(path, content=content, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == refusal
    assert "secret" not in refused.text
    assert len((await client.get("/changes/")).json()) == 1


async def test_an_empty_file_imports_nothing(client: AsyncClient) -> None:
    assert result(await client.post("/imports/", headers=NDJSON)) == {}


async def test_a_sync_deletes_users_that_are_not_in_the_file(client: AsyncClient) -> None:
    for name in ("a", "b"):
        await client.post("/users/", json={"name": name, "external_id": name})
    answer = await client.post("/imports/?mode=sync&max_delete=50%25", content=b'{"external_id":"a"}\n', headers=NDJSON)
    assert result(answer) == {"rows": 1, "unchanged": 1, "deleted": 1, "seq": 3}
    assert (await client.get("/users/2")).status_code == 410


async def test_an_atomic_import_stores_all_rows_or_none(client: AsyncClient) -> None:
    answer = await client.post("/imports/?atomic=true", content=PEOPLE, headers=NDJSON)
    assert result(answer) == {"rows": 3, "withheld": 2, "rejected": 1}
    assert (await client.get("/users/")).json() == []


async def test_a_repeated_import_with_its_key_continues_where_the_first_one_ended(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.imports.SERVER_BATCH", 2)
    keyed = {**NDJSON, "idempotency-key": "nightly-1"}
    many = b"".join(b'{"name":"User %d"}\n' % number for number in range(5))
    first = await client.post("/imports/", content=many, headers=keyed)
    again = await client.post("/imports/", content=many, headers=keyed)
    assert result(first) == {"rows": 5, "created": 5, "seq": 5}
    assert result(again) == {"rows": 5, "created": 5, "again": 5}
    assert len((await client.get("/users/")).json()) == 5
    other = await client.post("/imports/", content=b'{"name":"Other"}', headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_last_line_of_a_stopped_import_says_that_it_was_stopped(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.imports.SERVER_BATCH", 2)
    store, calls = ImportService.store, count(1)

    async def store_once(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 2:
            raise Busy("Later.")
        return await store(*args, **kwargs)

    monkeypatch.setattr(ImportService, "store", store_once)
    many = b"".join(b'{"name":"A %d"}\n' % n for n in range(4))
    stopped = lines(await client.post("/imports/", content=many, headers=NDJSON))[-1]["stopped"]
    assert (stopped["rows"], stopped["code"]) == (2, "busy")


async def test_a_file_that_differs_only_at_its_end_is_refused_from_the_start(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.imports.SERVER_BATCH", 2)
    keyed = {**NDJSON, "idempotency-key": "nightly-1"}
    first = b"".join(b'{"name":"A %d"}\n' % n for n in range(2))
    await client.post("/imports/", content=first + b'{"name":"B"}\n', headers=keyed)
    other = await client.post("/imports/", content=first + b'{"name":"C"}\n', headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_an_import_is_cancelled_when_its_client_disconnects(upgraded_sqlite_url: str, served: Any) -> None:
    """It is cancelled between two batches: stored rows stay, and the rest is not stored."""
    settings = Settings(database_url=upgraded_sqlite_url, limits=Limits(imports=1))
    many = b"".join(b'{"name":"User %d"}\n' % number for number in range(20_000))
    async with (
        served(Container(settings=providers.Object(settings))) as server,
        AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /imports/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(many)}\r\n"
        writer.write(head.encode() + b"content-type: application/x-ndjson\r\n\r\n" + many)
        while b"progress" not in await reader.readline():
            pass
        writer.close()
        while (await client.post("/imports/", headers=NDJSON)).status_code == 503:
            pass
        count = int((await client.get("/users/?count=true&limit=1")).headers["x-total-count"])
    assert 0 < count < 20_000
    assert count % SERVER_BATCH == 0


@pytest.fixture
async def bounded(client_of: Callable[..., Any]) -> AsyncIterator[AsyncClient]:
    """A server that accepts small files only, one at a time."""
    limits = Limits(imports=1, import_bytes=100)
    container = Container(
        settings=providers.Object(Settings(limits=limits)), units=providers.Object(MemoryUnitsOfWork())
    )
    async with client_of(container) as client:
        yield client


async def test_the_size_of_a_file_is_bounded(bounded: AsyncClient) -> None:
    refused = await bounded.post("/imports/", content=b'{"name":"x"}\n' * 8, headers=NDJSON)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert (await bounded.get("/users/")).json() == []


async def test_the_number_of_running_imports_is_bounded(bounded: AsyncClient) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"name":"Alice"}\n'
        begun.set()
        await go_on.wait()

    one = asyncio.create_task(bounded.post("/imports/", content=slowly(), headers=NDJSON))
    await begun.wait()
    refused = await bounded.post("/imports/", content=b"", headers=NDJSON)
    go_on.set()
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert result(await one) == {"rows": 1, "created": 1, "seq": 1}
    assert (await bounded.post("/imports/", content=b"", headers=NDJSON)).status_code == 200


async def test_a_body_that_stalls_is_timed_out(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.imports.BODY_TIMEOUT_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    refused = await client.post("/imports/", content=stuck(), headers=NDJSON)
    assert (refused.status_code, refused.json()["code"]) == (408, "too_slow")


async def test_an_import_needs_the_scopes_for_its_kinds_of_rows(directory: "Directory") -> None:
    _, secret = await directory.key(Scope.USERS_READ, Scope.USERS_WRITE)
    answer = await directory.ask("POST", "/imports/", key=secret, content=PEOPLE, headers=NDJSON)
    assert [each["errors"][0]["code"] for each in lines(answer)[:3]] == ["forbidden", "forbidden", "too_short"]
    _, reader = await directory.key(Scope.USERS_READ, Scope.GROUPS_WRITE)
    refused = await directory.ask("POST", "/imports/", key=reader, content=PEOPLE, headers=NDJSON)
    assert (refused.status_code, refused.json()["detail"]) == (403, "This needs the scope users:write.")

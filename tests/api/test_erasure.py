"""No file of SQLite has erased values any more, while the server runs with its database open."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from httpx2 import AsyncClient

import repositories.engines.sqlite.upkeep.scrubber
import repositories.engines.sqlite.upkeep.scrubbing
import repositories.work.background
import repositories.work.units_of_work
from api.container import Container
from domain.work import RequestContext
from repositories.engines.upkeep.scrubbing import Scrubbed

ALICE = {
    "name": "Alice Wonderland",
    "email": "Alice.Secret@Example.org",
    "username": "AliceTheSecret",
    "external_id": "hr-secret-4711",
    "attributes": {"diagnosis": "a very private matter", "long": "carroll" * 2000},
}
NOW = "2026-01-01T00:00:00.000000+00:00"
LATER = {"name": "Alice Looking-Glass", "attributes": {"address": "7 Rabbit Hole"}}
SECRETS = (
    "Alice.Secret@Example.org", "alice.secret@example.org", "AliceTheSecret", "alicethesecret", "hr-secret-4711",
    "Alice Wonderland", "alice wonderland", "Looking-Glass", "looking-glass", "a very private matter",
    "carrollcarroll", "7 Rabbit Hole",
)  # fmt: skip


def traces(folder: Path, secret: str) -> int:
    """How often a text is in the files of the database."""
    return sum(file.read_bytes().count(secret.encode()) for file in files(folder))


def files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("roster.db*"))


@pytest.fixture
def container(container_at: Callable[[str], Container], sqlite_url: str) -> Container:
    return container_at(sqlite_url)


@pytest.fixture
async def client(
    container: Container, client_of: Callable[[Container], AbstractAsyncContextManager[AsyncClient]]
) -> AsyncIterator[AsyncClient]:
    async with client_of(container) as client:
        yield client


@pytest.mark.parametrize(
    "rewritten_bytes", [repositories.engines.sqlite.upkeep.scrubbing.REWRITTEN_BYTES, 0], ids=["rewritten", "not"]
)
@pytest.mark.parametrize("deleted", [False, True], ids=["living", "deleted"])
async def test_no_file_has_an_erased_value(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool, rewritten_bytes: int
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.upkeep.scrubbing, "REWRITTEN_BYTES", rewritten_bytes)
    await client.post("/users/", json={"name": "Bob Kept", "email": "bob.kept@example.org"})
    await client.post("/users/", json=ALICE, headers={"idempotency-key": "create-alice"})
    await client.patch("/users/2", json=LATER)
    if deleted:
        await client.delete("/users/2")
    assert {file.name for file in files(tmp_path)} >= {"roster.db", "roster.db-wal", "roster.db-shm"}
    assert [secret for secret in SECRETS if not traces(tmp_path, secret)] == []

    assert (await client.delete("/users/2?purge=true")).status_code == (204 if rewritten_bytes else 202)

    assert [secret for secret in SECRETS if traces(tmp_path, secret)] == []
    assert traces(tmp_path, "bob.kept@example.org")
    assert (await client.get("/users/1")).json()["email"] == "bob.kept@example.org"


async def test_an_erasure_beside_an_open_stream_is_pending_until_no_trace_is_left(
    container: Container, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure does not make writers wait for the stream, and reports that it is pending."""
    monkeypatch.setattr(repositories.work.background, "AGAIN_AFTER_S", 0.01)
    monkeypatch.setattr(repositories.work.units_of_work, "SCRUBBED_WITHIN_S", 0.01)
    await client.post("/users/", json=ALICE)
    async with container.units().snapshot(RequestContext(actor="reader", request_id="r1")) as work:
        assert await work.users.count() == 1
        erased = await client.delete("/users/1?purge=true")
        assert (erased.status_code, erased.content) == (202, b"")
        assert erased.headers["roster-seq"] == "2"
        assert (await client.get("/users/1")).status_code == 404
        assert (await client.post("/users/", json={"name": "Bob"})).status_code == 201
        assert [secret for secret in SECRETS if traces(tmp_path, secret)] != []
    async with asyncio.timeout(30):
        await container.units()._scrubbing._over.wait()
    assert [secret for secret in SECRETS if traces(tmp_path, secret)] == []


async def test_concurrent_erasures_share_one_rewrite(
    container: Container, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, passes = container.database(), []
    scrub = database.scrub

    async def counted(*, gives_way: bool) -> Scrubbed:
        passes.append(gives_way)
        return await scrub(gives_way=gives_way)

    monkeypatch.setattr(container.units()._scrubbing, "_scrub", counted)
    for number in range(8):
        await client.post("/users/", json={"name": f"U{number}"})
    erased = await asyncio.gather(*[client.delete(f"/users/{number + 1}?purge=true") for number in range(8)])
    assert {each.status_code for each in erased} == {204}
    assert len(passes) < 8


async def test_a_failed_rewrite_of_the_file_is_retried(
    container: Container, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.work.background, "AGAIN_AFTER_S", 0.01)
    rewrite = repositories.engines.sqlite.upkeep.scrubbing.rewrite
    failed: list[bool] = []

    def fail_twice(is_waited_for: Callable[[], bool], gives_way: bool, connection: sqlite3.Connection) -> None:
        if len(failed) < 2:
            failed.append(True)
            raise sqlite3.OperationalError("database or disk is full")
        rewrite(is_waited_for, gives_way, connection)

    monkeypatch.setattr(repositories.engines.sqlite.upkeep.scrubber, "rewrite", fail_twice)
    await client.post("/users/", json=ALICE)
    assert (await client.delete("/users/1?purge=true")).status_code in (202, 204)
    async with asyncio.timeout(30):
        await container.units()._scrubbing._over.wait()
    assert len(failed) == 2


async def test_a_deletion_alone_keeps_everything(client: AsyncClient, tmp_path: Path) -> None:
    await client.post("/users/", json=ALICE)
    await client.delete("/users/1")
    assert [secret for secret in SECRETS[:5] if not traces(tmp_path, secret)] == []


async def test_a_dry_run_of_an_erasure_keeps_everything(client: AsyncClient, tmp_path: Path) -> None:
    await client.post("/users/", json=ALICE)
    await client.delete("/users/1?purge=true&dry_run=true")
    assert [secret for secret in SECRETS[:5] if not traces(tmp_path, secret)] == []


async def someone_with_a_copy(container: Container, folder: Path) -> str:
    """The username of one of very many users that is in the file once more than in its row and in its index.

    A page that is full is split, and the rows that move to another one stay behind as well, where nothing points.
    """
    dice = random.Random(1)
    names = [f"{dice.getrandbits(64):016x}" for _ in range(2000)]
    async with container.database().transaction() as executor:
        insert = sa.text(
            "INSERT INTO users (name, name_key, username, username_key, status, attributes, created_at, updated_at,"
            " version) VALUES ('N', 'n', :name, :name, 'active', '{}', :now, :now, 1)"
        )
        for name in names:
            await executor.fetch(insert, {"name": name, "now": NOW})
        await executor.commit()
    with closing(sqlite3.connect(folder / "roster.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    content = (folder / "roster.db").read_bytes()
    return next(name for name in names if content.count(name.encode()) > 3)


async def erase(client: AsyncClient, username: str, status: int = 204) -> None:
    user = (await client.get(f"/users/by/username/{username}?fields=id")).json()["id"]
    assert (await client.delete(f"/users/{user}?purge=true")).status_code == status
    assert (await client.get("/users/?count=true&limit=1")).headers["x-total-count"] == "1999"


async def test_no_file_has_an_erased_value_left_by_a_page_split(
    container: Container, client: AsyncClient, tmp_path: Path
) -> None:
    username = await someone_with_a_copy(container, tmp_path)
    await erase(client, username)
    assert not traces(tmp_path, username)


async def test_a_copy_stays_in_a_file_that_is_not_rewritten_and_the_answer_says_so(
    container: Container, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.upkeep.scrubbing, "REWRITTEN_BYTES", 0)
    username = await someone_with_a_copy(container, tmp_path)
    await erase(client, username, 202)
    assert traces(tmp_path, username)
    await container.units().stop()
    await container.database().vacuum()
    assert not traces(tmp_path, username)

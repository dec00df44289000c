"""SQLite on a disk that is full, read-only or broken, and files that somebody changes beside a running server.

Each is reported in one line, nothing that was acknowledged is lost, and no request gets a 500. It needs root, to mount.
"""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.e2e.night.conftest import log
from tests.e2e.night.load import Load, get, mixed, send

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

pytestmark = pytest.mark.usefixtures("at_night")

SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN: afterwards the file system answers every write, and most reads, with an error."""

MIB: Final = 2**20


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in a file."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    image.touch()
    os.truncate(image, 64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    folder.mkdir()
    mount("-o", "loop", str(image), str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def large(number: int) -> bytes:
    return send(
        "POST", "/users/", {"name": f"User {number}", "external_id": f"e{number}", "attributes": {"a": "x" * 2000}}
    )


def large_and_reads(number: int) -> bytes:
    return large(number) if number % 2 else get(f"/users/{number // 4 + 1}")


def alarms_of(server: "Roster") -> list[tuple[str, str]]:
    return [(event["event"], event["code"]) for event in server.events if event["event"].startswith("alarm")]


def stored_in(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        users = {key for (key,) in connection.execute("SELECT external_id FROM users")}
        changes = connection.execute("SELECT count(*) FROM changes WHERE action = 'created'").fetchone()[0]
    assert changes == len(users)
    return users


def acknowledged_in(*loads: Load) -> set[str]:
    return {f"e{each.number}" for load in loads for each in load.answers if each.status == 201}


async def test_a_full_disk_refuses_writes_until_there_is_room(small: Path, serve: "Run") -> None:
    filler = small / "filler"
    filler.write_bytes(b"x" * 12 * MIB)
    server: Roster = await serve(f"sqlite:///{small}/roster.db")
    host, port = await server.address()
    async with Load(host, port, large_and_reads).running() as load:
        while not load.statuses[503]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await load.more(2000)
    filler.unlink()
    first = await Load(host, port, large, clients=1, first=10**6).for_requests(1)
    assert await server.stop() == 0

    reads = Counter(each.status for each in load.answers if each.number % 2 == 0)
    codes = Counter(each.code for each in load.answers if each.status == 503)
    log.info("full disk: answers %s, refusals %s, reads %s", dict(load.statuses), dict(codes), dict(reads))
    assert set(load.statuses) <= {200, 201, 404, 503}
    assert set(codes) <= {"no_space", "busy"}
    assert codes["no_space"]
    assert set(reads) <= {200, 404}
    assert first.answers[0].status == 201
    assert alarms_of(server) == [("alarm", "no_space"), ("alarm over", "no_space")]
    assert [event for event in server.events if event["event"] == "failed"] == []
    assert stored_in(small / "roster.db") == acknowledged_in(load, first)


async def test_a_read_only_file_system_is_refused_in_one_line(small: Path, serve: "Run", run: "Run") -> None:
    url = f"sqlite:///{small}/roster.db"
    server: Roster = await serve(url)
    await Load(*await server.address(), large).for_requests(1)
    assert await server.stop() == 0
    mount("-o", "remount,ro", str(small))
    refused: Roster = await serve(url)
    assert await refused.ended() == 2
    log.info("read-only: %s", refused.errors)
    assert len(refused.complained) == 1
    assert refused.errors.startswith(f"roster: {small}/roster.db")


async def test_a_failing_disk_of_a_running_server_is_reported(disk: Path, serve: "Run") -> None:
    server: Roster = await serve(f"sqlite:///{disk}/roster.db")
    async with Load(*await server.address(), mixed).running() as load:
        await load.more(500)
        descriptor = os.open(disk, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, (2).to_bytes(4, sys.byteorder))
        os.close(descriptor)
        await load.more(500)
    codes = Counter(each.code for each in load.answers if each.status >= 400)
    log.info("failing disk: answers %s, refusals %s, %s", dict(load.statuses), dict(codes), alarms_of(server))
    assert set(load.statuses) <= {200, 201, 404, 503}
    assert {code for _, code in alarms_of(server)} <= {"database_damaged", "database_unreachable"}
    assert alarms_of(server)
    await server.kill()


def overwrite_pages(file: Path) -> None:
    """All but the first one."""
    with file.open("r+b") as pages:
        size = file.stat().st_size
        pages.seek(4096)
        pages.write(b"\xff" * (size - 4096))


def remove_log(file: Path) -> None:
    Path(f"{file}-wal").unlink()


def remove_file(file: Path) -> None:
    file.unlink()


def replace_file(file: Path) -> None:
    copy = file.with_suffix(".copy")
    copy.write_bytes(file.read_bytes())
    copy.rename(file)


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (overwrite_pages, "database_damaged"),
        (remove_log, "files_removed"),
        (remove_file, "files_removed"),
        (replace_file, "files_removed"),
    ],
)
async def test_changes_to_the_files_of_a_running_server_are_reported_in_one_line(
    tmp_path: Path, serve: "Run", happens: Callable[[Path], None], code: str
) -> None:
    file = tmp_path / "roster.db"
    server: Roster = await serve(f"sqlite:///{file}")
    host, port = await server.address()
    before = await Load(host, port, large).for_requests(1000)
    await asyncio.to_thread(happens, file)
    async with Load(
        host, port, lambda n: large(n) if n % 2 else get("/users/?limit=500"), first=10**6
    ).running() as load:
        await load.more(1000)
    ready = await Load(host, port, lambda _: get("/health/ready"), clients=1).for_requests(1)
    acknowledged_after = [each for each in load.answers if each.status == 201]
    codes = Counter(each.code for each in load.answers if each.status >= 400)
    log.info(
        "%s: answers %s, refusals %s, %s, %d acknowledged after it",
        happens.__name__, dict(load.statuses), dict(codes), alarms_of(server), len(acknowledged_after),
    )  # fmt: skip
    assert await server.stop() == 0
    assert set(load.statuses) <= {200, 201, 503}
    assert set(codes) == {code}
    assert alarms_of(server) == [("alarm", code)]
    assert ready.answers[0].status == 503
    if happens is remove_log:
        assert stored_in(file) == acknowledged_in(before, load)

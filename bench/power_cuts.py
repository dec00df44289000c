"""Whether a power cut loses data: `sudo python -m bench.power_cuts [cuts]`, on SQLite, on Linux, four seconds for each
cut.

The database is on its own ext4 file system, in a file. While clients create users, that file system is shut down and
writes nothing more, as in a power cut. Then the server is killed and the file system is mounted again, which replays
its journal. Every acknowledged user must be there.
"""

import asyncio
import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

CLIENTS: Final = 16
SHUTDOWN: Final = 0x8004587D
WITHOUT_FLUSH: Final = (2).to_bytes(4, sys.byteorder)
"""EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH."""

ACKNOWLEDGED: Final = b"HTTP/1.1 201"
PORT: Final = 18767


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


@contextmanager
def server_on(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is killed at the end of the block."""
    settings = {"ROSTER_DATABASE_URL": f"sqlite:///{folder}/roster.db", "ROSTER_LOG_LEVEL": "error"}
    program = [str(Path(sys.executable).with_name("roster")), "serve", "--port", str(PORT)]
    process = subprocess.Popen(program, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        with suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", PORT)
        await asyncio.sleep(0.05)


async def create(prefix: str, acknowledged: list[str]) -> None:
    reader, writer = await connect()
    with suppress(OSError, asyncio.IncompleteReadError):
        for number in count():
            key = f"{prefix}-{number}"
            body = f'{{"name":"{key}","external_id":"{key}"}}'.encode()
            head = f"POST /users/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(ACKNOWLEDGED):
                return
            acknowledged.append(key)
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    writer.close()


def cut(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_FLUSH)
    finally:
        os.close(descriptor)


async def create_until_cut(folder: Path, prefix: str) -> list[str]:
    acknowledged: list[str] = []
    (await connect())[1].close()
    clients = [asyncio.create_task(create(f"{prefix}-{number}", acknowledged)) for number in range(CLIENTS)]
    await asyncio.sleep(random.uniform(0.2, 1.2))  # noqa: S311
    cut(folder)
    sure = list(acknowledged)  # later answers may come from requests during the cut
    await asyncio.sleep(0.05)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return sure


def flaws(folder: Path, acknowledged: set[str]) -> list[str]:
    with closing(sqlite3.connect(folder / "roster.db")) as connection:
        damaged = connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
        users = dict(connection.execute("SELECT external_id, id FROM users"))
        changed = [id for (id,) in connection.execute("SELECT entity_id FROM changes WHERE kind = 'user' ORDER BY 1")]
    found = [f"{len(lost)} were lost" for lost in (acknowledged - users.keys(),) if lost]
    found += ["the file is damaged"] if damaged else []
    return found + (["users and changes differ"] if changed != sorted(users.values()) else [])


def main() -> None:
    cuts = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    acknowledged, wrong = set[str](), 0
    with tempfile.TemporaryDirectory(prefix="roster-cuts-", dir=".") as folder:
        image, at = Path(folder) / "disk", Path(folder) / "mounted"
        at.mkdir()
        image.touch()
        os.truncate(image, 256 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        for number in range(cuts):
            with mounted(image, at), server_on(at):
                acknowledged |= set(asyncio.run(create_until_cut(at, str(number))))
            with mounted(image, at):
                for flaw in flaws(at, acknowledged):
                    wrong += 1
                    print(f"after cut {number + 1}: {flaw}")
    print(f"{cuts} power cuts, {len(acknowledged)} acknowledged creates: {wrong or 'nothing'} wrong")


if __name__ == "__main__":
    main()

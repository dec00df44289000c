"""Whether a power cut loses data: `sudo python -m bench.power_cuts [cuts]`, on SQLite, on Linux, four seconds for each
cut.

The database is on its own ext4 file system, in a file. While clients create users, and one of them also erases its own,
that file system is shut down and writes nothing more, as in a power cut. Then the server is killed and the file system
is mounted again, which replays its journal. Every acknowledged user must be there, and no erased one.
"""

import asyncio
import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

CLIENTS: Final = 16
SHUTDOWN: Final = 0x8004587D
WITHOUT_FLUSH: Final = (2).to_bytes(4, sys.byteorder)
"""EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH."""

PORT: Final = 18767
CREATED: Final = 201
ERASED: Final = {202, 204}
CREATED_AND_NOT_ERASED: Final = """
SELECT entity_id FROM changes WHERE kind = 'user' AND action = 'created'
AND entity_id NOT IN (SELECT entity_id FROM changes WHERE kind = 'user' AND action = 'purged') ORDER BY 1
"""
ERASED_EVERY_S: Final = 0.05


@dataclass
class Users:
    """The external ids of users whose creation was acknowledged, whose erasure began, and whose erasure was
    acknowledged."""

    created: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)

    def __or__(self, other: "Users") -> "Users":
        return Users(self.created | other.created, self.leaving | other.leaving, self.erased | other.erased)


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


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connected(cls) -> "Client":
        while True:
            with suppress(OSError):
                return cls(*await asyncio.open_connection("127.0.0.1", PORT))
            await asyncio.sleep(0.05)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the body of the answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n"
        self.writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + sent)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        content = await self._reader.readexactly(length)
        return int(answer.split(maxsplit=2)[1]), json.loads(content) if content else None


async def create(prefix: str, users: Users, *, erases: bool) -> None:
    client = await Client.connected()
    with suppress(OSError, asyncio.IncompleteReadError):
        for number in count():
            key = f"{prefix}-{number}"
            status, user = await client.ask("POST", "/users/", {"name": key, "external_id": key})
            if status != CREATED:
                return
            users.created.add(key)
            if erases:
                users.leaving.add(key)
                status, _ = await client.ask("DELETE", f"/users/{user['id']}?purge=true")
                if status not in ERASED:
                    return
                users.erased.add(key)
                await asyncio.sleep(ERASED_EVERY_S)
    client.writer.close()


def cut(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_FLUSH)
    finally:
        os.close(descriptor)


async def create_until_cut(folder: Path, prefix: str) -> Users:
    users = Users()
    (await Client.connected()).writer.close()
    clients = [create(f"{prefix}-{number}", users, erases=number == 0) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client) for client in clients]
    await asyncio.sleep(random.uniform(0.2, 1.2))  # noqa: S311
    cut(folder)
    sure = users | Users()  # later answers may come from requests during the cut
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sure


def flaws(folder: Path, users: Users) -> list[str]:
    with closing(sqlite3.connect(folder / "roster.db")) as connection:
        damaged = connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
        stored = dict(connection.execute("SELECT external_id, id FROM users"))
        changed = [id for (id,) in connection.execute(CREATED_AND_NOT_ERASED)]
    found = [f"{len(lost)} were lost" for lost in (users.created - users.leaving - stored.keys(),) if lost]
    found += [f"{len(back)} erased ones are back" for back in (users.erased & stored.keys(),) if back]
    found += ["the file is damaged"] if damaged else []
    return found + (["users and changes differ"] if changed != sorted(stored.values()) else [])


def main() -> None:
    cuts = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    users, wrong = Users(), 0
    with tempfile.TemporaryDirectory(prefix="roster-cuts-", dir=".") as folder:
        image, at = Path(folder) / "disk", Path(folder) / "mounted"
        at.mkdir()
        image.touch()
        os.truncate(image, 256 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        for number in range(cuts):
            with mounted(image, at), server_on(at):
                users |= asyncio.run(create_until_cut(at, str(number)))
            with mounted(image, at):
                for flaw in flaws(at, users):
                    wrong += 1
                    print(f"after cut {number + 1}: {flaw}")
    acknowledged = f"{len(users.created)} acknowledged creations and {len(users.erased)} erasures"
    print(f"{cuts} power cuts, {acknowledged}: {wrong or 'nothing'} wrong")


if __name__ == "__main__":
    main()

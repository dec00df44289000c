"""The time of each page of the console with a million people: `python -m bench.console`.

Prints milliseconds: the slower of two calls of each page, from a server process on a SQLite file.
"""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from httpx2 import Client, ConnectError

from bench.filling import fill_sqlite

PEOPLE: Final = int(os.environ.get("PEOPLE", "1000000"))
PORT: Final = int(os.environ.get("PORT", "8897"))

FILL: Final = (
    """UPDATE users SET external_id = 'hr-' || id, username = 'u' || id, username_key = 'u' || id,
    status = CASE WHEN id % 100 THEN 'active' ELSE 'suspended' END, attributes = '{"team":"T' || (id % 50) || '"}'""",
    """INSERT INTO changes (kind, entity_id, version, action, actor, request_id, at, after) SELECT 'user', id, 1,
    'created', 'key:1', 'filling', created_at, '{"name":"Person","status":"active"}' FROM users""",
    """INSERT INTO groups (name, name_key, attributes, created_at, updated_at, version)
    SELECT 'Every tenth', 'every tenth', '{}', created_at, created_at, 1 FROM users LIMIT 1""",
    """INSERT INTO memberships (group_id, user_id, created_at, updated_at, version)
    SELECT 1, id, created_at, created_at, 1 FROM users WHERE id % 10 = 0""",
    "ANALYZE",
)
"""Adds what `bench.filling` does not write: statuses, attributes, a history, and a group with every tenth user."""

PAGES: Final = (
    "/", "/users", "/users?rows&q=ada", "/users?rows&q=zoe%20zoe%20zhang", "/users?rows&q=hr-777777",
    "/users?rows&q=nobody-has-this", "/users?rows&status=suspended", "/users?rows&attribute=team=T7",
    "/users?rows&attribute=team=T99", "/users?sort=name", "/users?sort=-updated_at", f"/users/{PEOPLE // 2}",
    "/groups", "/groups/1", "/groups/1?rows&add=ada", "/groups/1?rows&add=nobody-has-this", "/changes",
    "/changes?actor=nobody", "/changes?action=deleted", "/changes?until=2020-01-01T00:00", "/import", "/keys",
    "/webhooks", "/system",
)  # fmt: skip


def fill(file: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "api.commands.main", "db", "upgrade", "--database-url", f"sqlite:///{file}"], check=True
    )
    fill_sqlite(str(file), PEOPLE)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for statement in FILL:
            connection.execute(statement)
            connection.commit()


@contextmanager
def served(file: Path) -> Iterator[Client]:
    command = [sys.executable, "-m", "api.commands.main", "serve", "--port", str(PORT)]
    server = subprocess.Popen([*command, "--database-url", f"sqlite:///{file}"], stdout=subprocess.DEVNULL)
    try:
        with Client(base_url=f"http://127.0.0.1:{PORT}/console", timeout=60) as client:
            while not is_up(client):
                time.sleep(0.2)
            yield client
    finally:
        server.terminate()
        server.wait()


def is_up(client: Client) -> bool:
    try:
        return client.get("/users/new").is_success
    except ConnectError:
        return False


def milliseconds(client: Client, page: str) -> float:
    began = time.perf_counter()
    client.get(page).raise_for_status()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "roster.db"
        fill(file)
        with served(file) as client:
            for page in PAGES:
                print(f"{max(milliseconds(client, page) for _ in range(2)):8.0f} ms  {page}")


if __name__ == "__main__":
    main()

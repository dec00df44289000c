"""Whether Roster works behind pgbouncer, in both of its modes: `python -m bench.poolers`, in half a minute.

Sixteen clients create, read, change, list and delete users over HTTP, through a pooler whose settings are those of
docs/operations.md. It tells how many requests were answered with which status. It needs pgbouncer on PATH.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx2

from bench.databases import private_server
from bench.patroni import ROSTER, USER, WAIT_S, running
from bench.servers import free_port
from repositories.engines.postgres.servers import READ_ONLY

CLIENTS: Final = 16
EACH: Final = 8
"""How often each client goes through all calls."""

PGBOUNCER: Final = """
[databases]
postgres = host={socket} user=roster

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 24
max_client_conn = 200
ignore_startup_parameters = {ignored}
{more}
"""


IGNORED: Final = ",".join((READ_ONLY.keys() | {"statement_timeout"}) - {"application_name", "timezone"})
"""The parameters that Roster sends when it connects, and that pgbouncer does not know."""


async def calls(url: str, secret: str) -> Counter[int]:
    """The number of answers with each status."""
    seen: Counter[int] = Counter()

    async def go_through(http: httpx2.AsyncClient, name: str) -> None:
        created = await http.post(
            "/users/", json={"name": name, "external_id": name}, headers={"Idempotency-Key": name}
        )
        seen[created.status_code] += 1
        if not created.is_success:
            return
        at = f"/users/{created.json()['id']}"
        patch = {"Content-Type": "application/merge-patch+json"}
        for answer in (
            await http.post("/users/", json={"name": name}),
            await http.get(at),
            await http.patch(at, content=json.dumps({"name": f"{name} again"}), headers=patch),
            await http.get("/users/", params={"limit": 10, "sort": "name", "filter": f'name sw "{name}"'}),
            await http.delete(at),
        ):
            seen[answer.status_code] += 1

    async def run(client: int) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            for number in range(EACH):
                await go_through(http, f"user-{client}-{number}")

    await asyncio.gather(*map(run, range(CLIENTS)))
    return seen


def measured(mode: str, direct: str, folder: Path, more: str = "") -> str:
    port, pooler = free_port(), free_port()
    file = folder / f"{mode}.ini"
    file.write_text(PGBOUNCER.format(socket=folder / "socket", port=pooler, mode=mode, more=more, ignored=IGNORED))
    url = f"postgresql://roster@127.0.0.1:{pooler}/postgres"
    environment = {**os.environ, "ROSTER_LOG_LEVEL": "error"}
    make = (
        "keys",
        "create",
        mode,
        "--scope",
        "users:read",
        "--scope",
        "users:write",
        "--json",
        "--database-url",
        direct,
    )
    made = subprocess.run(
        [ROSTER, *make], env=environment, check=True, capture_output=True, text=True, cwd=folder
    ).stdout
    with (
        running(("pgbouncer", file), folder / "pgbouncer.log", user=USER),
        running(
            (ROSTER, "serve", "--port", str(port), "--database-url", url),
            folder / "roster.log",
            env=environment,
            cwd=folder,
        ) as server,
    ):
        at = f"http://127.0.0.1:{port}"
        for _ in range(WAIT_S * 10):
            if server.poll() is not None:
                return f"| {mode} {more} | the server did not start |"
            with suppress(httpx2.TransportError):
                httpx2.get(f"{at}/health/live", trust_env=False)
                break
            time.sleep(0.1)
        seen = asyncio.run(calls(at, json.loads(made)["secret"]))
    return f"| {mode} {more} | {', '.join(f'{count} of {status}' for status, count in sorted(seen.items()))} |"


def main() -> None:
    if shutil.which("pgbouncer") is None:
        raise SystemExit("pgbouncer is missing. On Debian or Ubuntu: apt-get install pgbouncer")
    version = subprocess.run(["pgbouncer", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    with tempfile.TemporaryDirectory(prefix="roster-poolers-") as name, private_server(folder := Path(name)) as url:
        subprocess.run([ROSTER, "db", "upgrade", "--database-url", url], check=True, capture_output=True, cwd=folder)
        print(f"| pgbouncer {version} in mode | answers |\n|---|---|")
        print(measured("session", url, folder), flush=True)
        print(measured("transaction", url, folder), flush=True)
        if tuple(map(int, version.split(".")[:2])) >= (1, 21):
            print(measured("transaction", url, folder, "max_prepared_statements = 200"))


if __name__ == "__main__":
    main()

"""Roster behind the proxies of docs/operations, with their configurations: a wait for changes goes through them."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from httpx2 import AsyncClient, AsyncHTTPTransport
from tests.programs import program

from api.randomness import random_characters
from domain.keys import FIRST_ID, write_secret

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

FOLDER: Final = Path(__file__).parents[2] / "docs" / "operations"
HOST: Final = "users.example.org"
WITHIN_S: Final = 60
ADMIN: Final = write_secret(FIRST_ID, random_characters())
KEY: Final = {"Authorization": f"Bearer {ADMIN}"}


def nginx(folder: Path, port: int) -> list[str]:
    """It listens on a socket in the folder, with a certificate made for it."""
    certificate, key = folder / "certificate", folder / "key"
    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={HOST}")
    made = [program("openssl"), *request, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "listen 80;": f"listen unix:{folder}/plain;",
        "listen 443 ssl http2;": f"listen unix:{folder}/socket ssl http2;",
        "/etc/ssl/roster.crt": str(certificate),
        "/etc/ssl/roster.key": str(key),
    }
    file = folder / "nginx.conf"
    file.write_text(changed((FOLDER / "nginx.conf").read_text(), changes))
    options = f"daemon off; master_process off; pid {folder}/pid;"
    return [program("nginx"), "-p", str(folder), "-c", str(file), "-e", "stderr", "-g", options]


def caddy(folder: Path, port: int) -> list[str]:
    """It listens on a socket in the folder, without a certificate: it would ask for one."""
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        f"\n{HOST} {{": f"\n{{\n\tadmin off\n}}\nhttp://{HOST} {{\n\tbind unix/{folder}/socket",
    }
    file = folder / "Caddyfile"
    file.write_text(changed((FOLDER / "Caddyfile").read_text(), changes))
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


PROXIES: Final[dict[str, Callable[[Path, int], list[str]]]] = {"nginx": nginx, "caddy": caddy}


def changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def running(command: list[str], socket: Path) -> AsyncIterator[None]:
    """The proxy, from when it takes connections."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(WITHIN_S):
            while not socket.exists():  # noqa: ASYNC240  # it takes microseconds
                if process.returncode is not None:
                    assert process.stderr is not None
                    pytest.fail((await process.stderr.read()).decode())
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize(("name", "scheme"), [("nginx", "https"), ("caddy", "http")])
async def test_a_wait_for_changes_works_through_the_proxy(name: str, scheme: str, tmp_path: Path, serve: "Run") -> None:
    program(name)
    roster: Roster = await serve(
        f"sqlite:///{tmp_path}/roster.db",
        trusted_proxies="127.0.0.1",
        allowed_hosts=f"{HOST},127.0.0.1",
        bootstrap_key=ADMIN,
    )
    _, port = await roster.address()
    socket = tmp_path / "socket"
    through = AsyncHTTPTransport(uds=str(socket), verify=False)
    async with (
        running(PROXIES[name](tmp_path, port), socket),
        AsyncClient(transport=through, base_url=f"{scheme}://{HOST}", headers=KEY, timeout=WITHIN_S) as client,
        AsyncClient(base_url=await roster.url(), timeout=WITHIN_S) as direct,
    ):
        alice = await client.post("/users/", json={"name": "Alice"})
        assert alice.status_code == 201
        since = alice.headers["roster-seq"]
        assert (await client.get("/changes/", params={"since": since, "wait": 1})).json() == []

        waiting = asyncio.create_task(client.get("/changes/", params={"since": since, "wait": 30}))
        async with asyncio.timeout(WITHIN_S):
            while "roster_requests_in_flight 2.0" not in (await direct.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        bob = await client.post("/users/", json={"name": "Bob"})
        assert [change["entity_id"] for change in (await waiting).json()] == [bob.json()["id"]]

        assert (await client.get("/metrics")).status_code == 404

"""Failover by Patroni: `python -m bench.patroni [kills]`, 5 by default, about a minute each.

It starts etcd, a PostgreSQL primary and a synchronous standby under Patroni, and HAProxy, as docs/operations.md shows.
Clients create users over HTTP while the primary and its Patroni are killed. Every acknowledged user has to be stored
once, and what an idempotency key says of the others has to be true. Roster first connects by HAProxy, then by the hosts
in its URL. The program needs etcd and haproxy on PATH, and installs Patroni for the run.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.databases import binaries
from bench.errors import BenchError
from bench.servers import free_port, stop

CLIENTS: Final = 8
WAIT_S: Final = 180
ROSTER: Final = Path(sys.executable).with_name("roster")
HERE: Final = "127.0.0.1/32"
USER: Final = "nobody" if os.geteuid() == 0 else None
PYTHON: Final = "/usr/bin/python3" if USER else sys.executable
"""The user nobody may have no access to the folder of our Python."""

HAPROXY: Final = """
global
    maxconn 500
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen roster
    bind 127.0.0.1:{port}
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


class Node:
    """A PostgreSQL server with its Patroni."""

    def __init__(self, name: str, folder: Path, etcd: int) -> None:
        self.name, self.port, self.api = name, free_port(), free_port()
        self._data, self._configuration = folder / name / "data", folder / f"{name}.json"
        self._log = (folder / f"{name}.log").open("ab")
        self._patroni = folder / "patroni" / "bin" / "patroni"
        self._process: subprocess.Popen[bytes] | None = None
        self._data.parent.mkdir()
        if USER:
            shutil.chown(self._data.parent, USER)
        self._configuration.write_text(json.dumps(self._configured(etcd)))  # JSON is YAML

    def _configured(self, etcd: int) -> dict[str, Any]:
        parameters = {"synchronous_commit": "on", "hot_standby_feedback": "on", "max_connections": 100}
        return {
            "scope": "roster",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.api}", "connect_address": f"127.0.0.1:{self.api}"},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,  # the least that Patroni takes
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "maximum_lag_on_failover": 0,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": parameters},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self._data),
                "basebackup": [{"checkpoint": "fast"}],
                "pgpass": str(self._data.parent / "pgpass"),
                "bin_dir": str(binaries()),
                "authentication": {"superuser": {"username": "roster"}, "replication": {"username": "replicator"}},
                "pg_hba": ["local all all trust", f"host all all {HERE} trust", f"host replication all {HERE} trust"],
                "parameters": {"unix_socket_directories": str(self._data.parent)},
            },
        }  # fmt: skip

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._patroni, self._configuration], user=USER, cwd="/", stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        """Kills Patroni first, because it would start its server again."""
        assert self._process is not None  # noqa: S101
        self._process.kill()
        self._process.wait()
        with suppress(FileNotFoundError, ProcessLookupError):
            postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGSTOP)  # it starts no more processes
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            for process in (*map(int, children), postmaster):
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """Patroni stops its server."""
        if self._process is not None:
            stop(self._process)

    @property
    def log(self) -> str:
        """The end of Patroni's log."""
        return Path(self._log.name).read_text()[-2000:]

    def is_well(self, role: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.api}/{role}", timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
        return False


class Cluster:
    """The nodes, of which one is the primary."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    @property
    def primary(self) -> Node | None:
        return next((node for node in self.nodes if node.is_well("primary")), None)

    def wait(self) -> None:
        """Until one node is the primary, and the other its synchronous standby."""
        deadline = time.monotonic() + WAIT_S
        while self.primary is None or not any(node.is_well("synchronous") for node in self.nodes):
            if time.monotonic() > deadline:
                raise BenchError("The nodes did not come together:\n" + "\n".join(node.log for node in self.nodes))
            time.sleep(0.2)

    def fail_over(self) -> tuple[Node, float, float]:
        """The node that was killed, when that was, and when the other one was the primary."""
        dying = self.primary
        assert dying is not None  # noqa: S101
        dying.kill()
        killed = time.monotonic()
        while self.primary is None:
            time.sleep(0.05)
        return dying, killed, time.monotonic()


@contextmanager
def running(command: Sequence[str | Path], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen([str(each) for each in command], stdout=output, stderr=output, **options)
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    etcd, peer = free_port(), free_port()
    at, between = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
    command = (
        "etcd", "--data-dir", folder / "etcd", "--listen-client-urls", at, "--advertise-client-urls", at,
        "--listen-peer-urls", between, "--initial-advertise-peer-urls", between,
        "--initial-cluster", f"default={between}",
    )  # fmt: skip
    with running(command, folder / "etcd.log"), ExitStack() as stack:
        nodes = [Node(name, folder, etcd) for name in ("one", "two")]
        for node in nodes:
            stack.callback(node.stop)
            node.start()
        found = Cluster(nodes)
        found.wait()
        yield found


@contextmanager
def haproxy(folder: Path, nodes: Sequence[Node]) -> Iterator[int]:
    """The port that leads to the primary."""
    port, file = free_port(), folder / "haproxy.cfg"
    servers = [f"    server {node.name} 127.0.0.1:{node.port} check port {node.api}" for node in nodes]
    file.write_text(HAPROXY.format(port=port, servers="\n".join(servers)))
    with running(("haproxy", "-db", "-f", file), folder / "haproxy.log"):
        yield port


class Clients:
    """Clients that create users all the time, every second one with an idempotency key, and record the answers."""

    def __init__(self, url: str, secret: str, prefix: str) -> None:
        self.acknowledged: dict[str, int] = {}
        self.uncertain: set[str] = set()
        self.refused: set[str] = set()
        self._names = (f"{prefix}-{number}" for number in count(1))
        self._http = httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60, trust_env=False
        )

    async def create(self, name: str) -> httpx2.Response:
        key = {"Idempotency-Key": name} if has_key(name) else {}
        return await self._http.post("/users/", json={"name": name, "external_id": name}, headers=key)

    async def run(self) -> None:
        while True:
            answer = await self.create(name := next(self._names))
            if answer.status_code == 201:  # noqa: PLR2004
                self.acknowledged[name] = answer.json()["id"]
            elif answer.json().get("type", "").endswith("uncertain"):
                self.uncertain.add(name)
            else:
                self.refused.add(name)
                await asyncio.sleep(0.05)

    async def live_through(self, nodes: Cluster) -> tuple[float, float]:
        """Seconds from the kill, and from the promotion, to the next acknowledged write."""
        load = asyncio.gather(*[self.run() for _ in range(CLIENTS)])
        await self.more(50)
        dead, killed, promoted = await asyncio.to_thread(nodes.fail_over)
        dead.start()  # in strict mode the new primary acknowledges nothing before it has a standby
        await self.more(1)
        back = time.monotonic()
        await asyncio.to_thread(nodes.wait)
        await self.more(50)
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
        return back - killed, max(0, back - promoted)

    async def more(self, number: int) -> None:
        wanted = len(self.acknowledged) + number
        async with asyncio.timeout(WAIT_S):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def stored(self) -> dict[str, int]:
        """The ids of all users, by name."""
        lines = (await self._http.get("/users/", headers={"Accept": "application/x-ndjson"})).text.splitlines()
        users = [json.loads(line) for line in lines]
        if len({user["name"] for user in users}) < len(users):
            raise BenchError("Somebody was created twice.")
        return {user["name"]: user["id"] for user in users}

    async def check(self) -> str:
        stored = await self.stored()
        lost = [name for name, id in self.acknowledged.items() if stored.get(name) != id]
        wrong = [name for name in self.refused if name in stored]
        for name in filter(has_key, self.uncertain):
            answer = (await self.create(name)).json()
            wrong += [name] if stored.get(name, answer["id"]) != answer["id"] else []
        await self.stored()
        await self._http.aclose()
        if lost or wrong:
            raise BenchError(f"lost: {lost}, wrong: {wrong}")
        return f"{len(self.acknowledged):,} | 0 | {len(self.uncertain)} | {len(self.refused)}"


def has_key(name: str) -> bool:
    return int(name.rpartition("-")[2]) % 2 == 0


def measured(title: str, url: str, nodes: Cluster, kills: int, folder: Path) -> str:
    environment = {**os.environ, "ROSTER_DATABASE_URL": url, "ROSTER_LOG_LEVEL": "error"}

    def roster(*arguments: str) -> str:
        return subprocess.run(
            [ROSTER, *arguments], env=environment, check=True, capture_output=True, text=True, cwd=folder
        ).stdout

    roster("db", "upgrade")
    scopes = ("--scope", "users:read", "--scope", "users:write")
    secret = json.loads(roster("keys", "create", title, *scopes, "--json"))["secret"]
    port = free_port()
    with running((ROSTER, "serve", "--port", str(port)), folder / "roster.log", env=environment, cwd=folder):
        at = f"http://127.0.0.1:{port}"
        for _ in range(WAIT_S * 10):
            with suppress(httpx2.TransportError):
                httpx2.get(f"{at}/health/live", trust_env=False)
                break
            time.sleep(0.1)

        async def live() -> tuple[list[tuple[float, float]], str]:
            clients = Clients(at, secret, title)
            return [await clients.live_through(nodes) for _ in range(kills)], await clients.check()

        times, counts = asyncio.run(live())
    since_kill, since_promotion = (max(each) for each in zip(*times, strict=True))
    return f"| {title} | {kills} | {counts} | {since_kill:.1f} s | {since_promotion:.1f} s |"


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for needed in ("etcd", "haproxy"):
        if shutil.which(needed) is None:
            raise SystemExit(f"{needed} is missing. On Debian or Ubuntu: apt-get install etcd-server haproxy")
    with tempfile.TemporaryDirectory(prefix="roster-patroni-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([PYTHON, "-m", "venv", folder / "patroni"], check=True)
        packages = ("patroni[etcd3]", "psycopg[binary]")
        subprocess.run([folder / "patroni" / "bin" / "pip", "install", "--quiet", *packages], check=True)
        with cluster(folder) as nodes, haproxy(folder, nodes.nodes) as proxy:
            hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes.nodes)
            print(
                "| by | kills | acknowledged | lost | uncertain | refused | back after the kill | after the promotion |"
            )
            print("|---|---|---|---|---|---|---|---|")
            print(
                measured("haproxy", f"postgresql://roster@127.0.0.1:{proxy}/postgres", nodes, kills, folder), flush=True
            )
            print(
                measured(
                    "hosts",
                    f"postgresql://roster@{hosts}/postgres?target_session_attrs=read-write",
                    nodes,
                    kills,
                    folder,
                )
            )


if __name__ == "__main__":
    main()

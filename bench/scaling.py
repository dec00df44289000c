"""The rate of more workers and more servers on one PostgreSQL: `python -m bench.scaling`, in two minutes.

On a machine with few cores, the cores limit the rates. So the output also has the cost of a request (CPU of Roster's
processes and of PostgreSQL's), and what PostgreSQL's busy connections wait for: the lock that orders commits, the log,
or nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2

from bench.databases import private_server
from bench.errors import BenchError
from bench.processes import cpu_seconds
from bench.servers import free_port
from bench.wrk import Load, put_load, write_paths

SETUPS: Final = ((1, 1), (1, 2), (1, 4), (2, 1))
"""Pairs of the number of servers and the number of workers of each."""

CLIENTS: Final = 16
SECONDS: Final = 5
SAMPLE_S: Final = 0.02
START_S: Final = 60
ROSTER: Final = Path(sys.executable).with_name("roster")
WAITS: Final = """
    SELECT coalesce(wait_event_type || ' ' || wait_event, 'running') FROM pg_stat_activity
    WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@contextmanager
def serving(url: str, workers: int) -> Iterator[tuple[int, str]]:
    """The process id of a server, and its address."""
    port = free_port()
    command = [str(ROSTER), "serve", "--database-url", url, "--port", str(port), "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address)
            yield process.pid, address
        finally:
            process.send_signal(signal.SIGTERM)


def wait_for(address: str) -> None:
    for _ in range(START_S * 10):
        time.sleep(0.1)
        with suppress(httpx2.TransportError):
            httpx2.get(f"{address}/health/live")
            return
    raise BenchError(f"No server started at {address}")


class Sampler:
    """Asks repeatedly what the busy connections wait for."""

    def __init__(self, socket: Path) -> None:
        self.found: Counter[str] = Counter()
        self._over = threading.Event()
        self._command = ["psql", "-h", str(socket), "-U", "roster", "-Atc", WAITS, "postgres"]

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.found.update(
                subprocess.run(self._command, capture_output=True, text=True, check=True).stdout.splitlines()
            )

    @contextmanager
    def sampling(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def __str__(self) -> str:
        total = self.found.total() or 1
        return ", ".join(f"{name} {100 * count // total} %" for name, count in self.found.most_common(3))


def measure(socket: Path, postmaster: int, servers: Sequence[tuple[int, str]], load: Load, prefix: str) -> str:
    before = [sum(cpu_seconds(pid) for pid, _ in servers), cpu_seconds(postmaster)]
    sampler = Sampler(socket)
    with ThreadPoolExecutor() as pool, sampler.sampling():
        results = list(
            pool.map(
                lambda server: put_load(
                    server[1],
                    {},
                    load,
                    clients=CLIENTS // len(servers),
                    seconds=SECONDS,
                    prefix=f"{prefix}-{server[0]}",
                ),
                servers,
            )
        )
    requests = sum(each.requests for each in results)
    roster = (sum(cpu_seconds(pid) for pid, _ in servers) - before[0]) / requests * 1e6
    postgres = (cpu_seconds(postmaster) - before[1]) / requests * 1e6
    rate = sum(each.requests / each.seconds for each in results)
    errors = sum(sum(each.errors.values()) for each in results)
    return f"{rate:,.0f}/s | {roster:,.0f} | {postgres:,.0f} | {errors} | {sampler} |"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="roster-scaling-") as name, private_server(folder := Path(name)) as url:
        postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        environment = {**os.environ, "ROSTER_DATABASE_URL": url}
        subprocess.run([ROSTER, "db", "upgrade"], env=environment, check=True, capture_output=True)
        paths = write_paths(folder / "paths", [f"/users/{id}" for id in range(1, 101)])
        print("| servers x workers | what | rate | Roster, µs | PostgreSQL, µs | errors | busy connections |")
        print("|---|---|---|---|---|---|---|")
        for number, workers in SETUPS:
            with ExitStack() as stack:
                servers = [stack.enter_context(serving(url, workers)) for _ in range(number)]
                for what, share in (("create", 1.0), ("read", 0.0)):
                    line = measure(folder / "socket", postmaster, servers, Load(paths, share), f"{number}x{workers}")
                    print(f"| {number} x {workers} | {what} | {line}", flush=True)


if __name__ == "__main__":
    main()

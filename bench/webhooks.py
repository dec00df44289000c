"""What delivering to webhooks costs: `python -m bench.webhooks`, on SQLite, in two minutes.

Rounds with and without an active webhook alternate, on one server: their ratio says something on a busy machine too.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.request import Request, urlopen

ROUNDS: Final = 5
SECONDS: Final = 4.0
CLIENTS: Final = 4
PAUSE_S: Final = 0.004
BACKLOG: Final = 3000
IDLE: Final = 1000
HEAD: Final = (
    b"POST /users/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
)
CREATE: Final = HEAD + b'{"name":"Alice"}'


class Receiver(asyncio.Protocol):
    """Answers 204 to every request, and counts."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.left = b""

    def data_received(self, data: bytes) -> None:
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            length = int(self.left[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self.left) < end + 4 + length:
                return
            self.left = self.left[end + 4 + length :]
            Receiver.taken += 1
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def client(port: int, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.perf_counter()) < until:
        writer.write(CREATE)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_S)
    writer.close()


async def round_of(port: int) -> tuple[float, float, float]:
    """Creates per second, the 99th percentile in ms, deliveries per second."""
    took: list[float] = []
    before, until = Receiver.taken, time.perf_counter() + SECONDS
    await asyncio.gather(*[client(port, until, took) for _ in range(CLIENTS)])
    took.sort()
    return len(took) / SECONDS, took[int(len(took) * 0.99)] * 1000, (Receiver.taken - before) / SECONDS


async def ask(port: int, path: str, body: object = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}, method="POST")
    await asyncio.to_thread(lambda: urlopen(request, timeout=60).read())  # noqa: S310


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, pid: int, hooks: str) -> None:
    without, active = [], []
    everything = {"url": hooks, "filter": 'kind eq "user"'}
    await ask(port, "/webhooks/", everything)
    for _ in range(ROUNDS):
        await ask(port, "/webhooks/1/pause")
        without.append(await round_of(port))
        await ask(port, "/webhooks/1/resume")
        active.append(await round_of(port))
    tell("a webhook", without, active)

    await ask(port, "/webhooks/1/pause")
    until, took = time.perf_counter() + 60, list[float]()
    while len(took) < BACKLOG:
        await client(port, min(until, time.perf_counter() + 0.5), took)
    taken, began, cpu = Receiver.taken, time.perf_counter(), cpu_s(pid)
    await ask(port, "/webhooks/1/resume")
    while Receiver.taken < taken + BACKLOG:  # noqa: ASYNC110  # another process delivers
        await asyncio.sleep(0.02)
    count, wall = Receiver.taken - taken, time.perf_counter() - began
    print(f"a backlog: {count / wall:.0f} deliveries/s, {(cpu_s(pid) - cpu) / count * 1000:.2f} ms of CPU each")

    await ask(port, "/webhooks/1/pause")
    alone = [await round_of(port) for _ in range(ROUNDS)]
    for number in range(IDLE):
        await ask(port, "/webhooks/", {"url": hooks, "filter": f'kind eq "key" and entity_id eq {number % 10}'})
    await asyncio.sleep(3)
    tell(f"{IDLE} idle webhooks", alone, [await round_of(port) for _ in range(ROUNDS)])


def tell(what: str, without: list[tuple[float, float, float]], active: list[tuple[float, float, float]]) -> None:
    rate, p99, _ = [median(each) for each in zip(*without, strict=True)]
    rate_with, p99_with, delivered = [median(each) for each in zip(*active, strict=True)]
    print(
        f"{what}: creates {rate:.0f}/s to {rate_with:.0f}/s, p99 {p99:.1f} ms to {p99_with:.1f} ms "
        f"(x {p99_with / p99:.2f}), {delivered:.0f} deliveries/s"
    )


async def main() -> None:
    receiver = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    hooks = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/"
    with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder:
        settings = {"ROSTER_LOG_FORMAT": "json", "ROSTER_WEBHOOKS_ALLOW_PRIVATE": "true", "ROSTER_LOG_LEVEL": "warning"}
        server = subprocess.Popen(  # noqa: ASYNC220  # before anything else runs
            [str(Path(sys.executable).with_name("roster")), "serve", "--port", "18765"],
            cwd=folder, env={**os.environ, **settings}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", 18765)
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            writer.close()
            await measure(18765, server.pid, hooks)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    asyncio.run(main())

"""The cost of deliveries to webhooks: `python -m bench.webhooks [PART ...]`, on SQLite, in five minutes.

Rounds with and without webhooks alternate on one server, so their ratio is meaningful on a busy machine too. Server,
deliveries, receiver and clients are four processes, so on two cores they compete for CPU. The receiver only takes what
the others leave.

- `steady`: users are created at fixed times, whether or not the earlier requests were answered (an open loop). Each of
  three webhooks gets each of them: more than 500 deliveries a second. A request counts from its planned time, so a
  pause of the server counts for all requests that had to wait.
- `one`, `two`: seven clients create users as fast as they are answered, with a pause of 4 ms (a closed loop). So there
  are as many creates as this machine can do, and with one webhook as many deliveries.
- `apart`: the same with one webhook, while Roster has one core, and the receiver and the clients have another, as if
  they were on another machine (only on Linux).
- `backlog`: how fast 4,000 changes are delivered, and the CPU of each.
- `idle`: a thousand webhooks that match nothing.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Load = Callable[[int], Awaitable[list[float]]]
    """Creates users through a port for `SECONDS`. Returns how long each took."""

STEADY: Final = 170
"""Creates per second of the part `steady`."""

STEADY_WEBHOOKS: Final = 3
ROUNDS: Final = 8
SECONDS: Final = 3.0
CLIENTS: Final = 7
PAUSE_S: Final = 0.004
BACKLOG: Final = 4000
IDLE: Final = 1000
USERS: Final = 'kind eq "user"'
HEAD: Final = (
    b"POST /users/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
)
CREATE: Final = HEAD + b'{"name":"Alice"}'


class Receiver:
    def __init__(self) -> None:
        program = [sys.executable, "-m", "bench.receiver"]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        pipes: Any = self._process
        self._input = pipes.stdin
        self._output = pipes.stdout
        self.url = f"http://127.0.0.1:{int(self._output.readline())}/"

    def taken(self) -> int:
        self._input.write("\n")
        self._input.flush()
        return int(self._output.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Server:
    port: int
    pid: int

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url, headers = f"http://127.0.0.1:{self.port}{path}", {"Content-Type": "application/json"}
        request = Request(url, data, headers, method=method)
        text = await asyncio.to_thread(lambda: urlopen(request, timeout=60).read())  # noqa: S310
        return json.loads(text) if text else None

    async def subscribe(self, url: str, filter: str = USERS) -> int:
        return int((await self.ask("POST", "/webhooks/", {"url": url, "filter": filter}))["id"])

    def processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu_s(self) -> list[float]:
        return [cpu_s(pid) for pid in self.processes()]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Rounds:
    """For each round: creates per second, their 99th percentile in ms, and deliveries per second."""

    load: "Load"
    each: list[tuple[float, float, float]] = field(default_factory=list)
    all_took: list[float] = field(default_factory=list)

    async def run(self, server: Server, receiver: Receiver) -> None:
        before = receiver.taken()
        took = await self.load(server.port)
        delivered = receiver.taken() - before
        self.each.append((len(took) / SECONDS, p99_ms(took), delivered / SECONDS))
        self.all_took += took


def p99_ms(took: "Sequence[float]") -> float:
    return sorted(took)[int(len(took) * 0.99)] * 1000


async def closed_loop(port: int) -> list[float]:
    """Seconds that each create took, of clients that wait for each answer."""
    took: list[float] = []
    until = time.perf_counter() + SECONDS
    await asyncio.gather(*[client(port, until, took) for _ in range(CLIENTS)])
    return took


async def client(port: int, until: float, took: list[float], pause_s: float = PAUSE_S) -> None:
    connection = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.perf_counter()) < until:
        await create(*connection)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(pause_s)
    connection[1].close()


async def create(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CREATE)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))


async def open_loop(port: int) -> list[float]:
    """Seconds from the planned time of each create to its answer."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
    began = time.perf_counter()

    async def one(planned: float) -> float:
        await asyncio.sleep(planned - time.perf_counter())
        connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await create(*connection)
        idle.append(connection)
        return time.perf_counter() - planned

    took = await asyncio.gather(*[one(began + number / STEADY) for number in range(int(SECONDS * STEADY))])
    for _, writer in idle:
        writer.close()
    return took


def tell(what: str, without: Rounds, active: Rounds) -> None:
    rate, p99, _ = [median(each) for each in zip(*without.each, strict=True)]
    rate_with, p99_with, delivered = [median(each) for each in zip(*active.each, strict=True)]
    ratio = median(b[1] / a[1] for a, b in zip(without.each, active.each, strict=True))
    print(
        f"{what}: creates {rate:.0f}/s to {rate_with:.0f}/s, p99 {p99:.1f} ms to {p99_with:.1f} ms "
        f"(median of the ratios {ratio:.2f}, of all rounds together "
        f"{p99_ms(active.all_took) / p99_ms(without.all_took):.2f}), {delivered:.0f} deliveries/s",
        flush=True,
    )


async def measure_active(server: Server, receiver: Receiver, number: int, load: "Load" = closed_loop) -> None:
    """Measure with `number` webhooks. Each change goes to all of them."""
    without, active = Rounds(load), Rounds(load)
    for _ in range(ROUNDS):
        await without.run(server, receiver)
        ids = [await server.subscribe(receiver.url) for _ in range(number)]
        await server.ask("POST", f"/webhooks/{ids[0]}/test")  # now the process that sends is running
        await active.run(server, receiver)
        await asyncio.sleep(1)
        for id in ids:
            await server.ask("DELETE", f"/webhooks/{id}")
    tell(f"{number} active", without, active)


async def measure_apart(server: Server, receiver: Receiver) -> None:
    everything, (first, second, *_) = os.sched_getaffinity(0), sorted(os.sched_getaffinity(0))
    cores = dict.fromkeys(server.processes(), first) | {receiver.pid: second, os.getpid(): second}
    for pid, core in cores.items():
        pin(pid, {core})
    print("apart, ", end="")
    await measure_active(server, receiver, 1)
    for pid in {*cores, *server.processes()}:
        pin(pid, everything)


def pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


async def measure_backlog(server: Server, receiver: Receiver) -> None:
    id = await server.subscribe(receiver.url)
    await server.ask("POST", f"/webhooks/{id}/test")
    await server.ask("POST", f"/webhooks/{id}/pause")
    took: list[float] = []
    while len(took) < BACKLOG:
        until = time.perf_counter() + 0.5
        await asyncio.gather(*[client(server.port, until, took, 0) for _ in range(CLIENTS)])
    taken, cpu, began = receiver.taken(), server.cpu_s(), time.perf_counter()
    await server.ask("POST", f"/webhooks/{id}/resume")
    await until_taken(receiver, taken + BACKLOG)
    count, wall = receiver.taken() - taken, time.perf_counter() - began
    each = [(after - before) / count * 1e6 for before, after in zip(cpu, server.cpu_s(), strict=True)]
    await server.ask("DELETE", f"/webhooks/{id}")
    print(f"a backlog: {count / wall:.0f} deliveries/s, CPU each: server {each[0]:.0f} µs, sending {each[1]:.0f} µs")


async def until_taken(receiver: Receiver, number: int) -> None:
    while receiver.taken() < number:  # noqa: ASYNC110  # another process counts
        await asyncio.sleep(0.02)


async def measure_idle(server: Server, receiver: Receiver) -> None:
    """Measure with idle webhooks, which match nothing. They are paused in every second round."""
    without, idle = Rounds(closed_loop), Rounds(closed_loop)
    ids = [await server.subscribe(receiver.url, f'kind eq "key" and entity_id eq {n % 10}') for n in range(IDLE)]
    for _ in range(ROUNDS):
        await toggle(server, ids, "pause")
        await without.run(server, receiver)
        await toggle(server, ids, "resume")
        await idle.run(server, receiver)
    tell(f"{IDLE} idle", without, idle)


async def toggle(server: Server, ids: list[int], action: str) -> None:
    for id in ids:
        await server.ask("POST", f"/webhooks/{id}/{action}")
    await asyncio.sleep(1)


async def measure(server: Server, receiver: Receiver, wanted: list[str]) -> None:
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "steady": lambda: measure_active(server, receiver, STEADY_WEBHOOKS, open_loop),
        "one": lambda: measure_active(server, receiver, 1),
        "apart": lambda: measure_apart(server, receiver),
        "two": lambda: measure_active(server, receiver, 2),
        "backlog": lambda: measure_backlog(server, receiver),
        "idle": lambda: measure_idle(server, receiver),
    }
    for name in wanted or parts:
        await parts[name]()


async def until_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


async def main() -> None:
    receiver = Receiver()
    with tempfile.TemporaryDirectory(prefix="roster-bench-") as folder:
        settings = {"ROSTER_LOG_FORMAT": "json", "ROSTER_WEBHOOKS_ALLOW_PRIVATE": "true", "ROSTER_LOG_LEVEL": "warning"}
        process = subprocess.Popen(  # noqa: ASYNC220  # before anything else runs
            [str(Path(sys.executable).with_name("roster")), "serve", "--port", "18765"],
            cwd=folder, env={**os.environ, **settings}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until_open(18765)
            await measure(Server(18765, process.pid), receiver, sys.argv[1:])
        finally:
            process.terminate()
            process.wait()
            receiver.stop()


if __name__ == "__main__":
    asyncio.run(main())

"""Compares SCIM with scim2-server, alternately: a page of 100 users, and one more member in groups of growing size.

    python -m bench.scim PATH/TO/scim2-server

It starts both servers on loopback, each with its own data, and prints the median times and their ratios.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

SIZES: Final = (100, 10_000)
ROUNDS: Final = 15
PAGE: Final = 100
BULK: Final = 100
DEADLINE_S: Final = 120
SCIM_JSON: Final = {"content-type": "application/scim+json"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], url: str, environment: dict[str, str]) -> Iterator[None]:
    """A server that runs until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(url)
            yield
        finally:
            server.terminate()
            server.wait(DEADLINE_S)


def wait_for(url: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            httpx2.get(f"{url}/ServiceProviderConfig")
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


class Contender:
    """`checks_members`: members must exist, so a user is created for each of them, by bulk requests."""

    def __init__(self, name: str, url: str, *, checks_members: bool) -> None:
        self.name = name
        self.checks_members = checks_members
        self.http = httpx2.Client(base_url=url, timeout=DEADLINE_S, headers=SCIM_JSON)
        self.users: list[str] = []
        self.groups: dict[int, str] = {}

    def send(self, method: str, path: str, body: Any) -> Any:
        answer = self.http.request(method, path, content=json.dumps(body))
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def fill(self) -> None:
        most = max(SIZES) + ROUNDS
        for start in range(0, most if self.checks_members else PAGE, BULK):
            operations = [
                {"method": "POST", "path": "/Users", "bulkId": str(number), "data": user(number)}
                for number in range(start, start + BULK)
            ]
            schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]
            answered = self.send("POST", "/Bulk", {"schemas": schemas, "Operations": operations})
            self.users += [each["location"].rpartition("/")[2] for each in answered["Operations"]]
        self.users += [f"somebody-{number}" for number in range(len(self.users), most)]
        for size in SIZES:
            self.groups[size] = self.group_of(size)

    def group_of(self, size: int) -> str:
        schema = "urn:ietf:params:scim:schemas:core:2.0:Group"
        members = [{"value": id} for id in self.users[:size]]
        created = self.send("POST", "/Groups", {"schemas": [schema], "displayName": f"g{size}", "members": members})
        id: str = created["id"]
        return id

    def page(self) -> float:
        return timed(lambda: self.http.get("/Users?startIndex=1&count=100").raise_for_status())

    def add(self, size: int, number: int) -> float:
        operation = {"op": "add", "path": "members", "value": [{"value": self.users[size + number]}]}
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
        return timed(lambda: self.send("PATCH", f"/Groups/{self.groups[size]}", body))


def user(number: int) -> dict[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": f"user{number}",
        "name": {"givenName": "A", "familyName": f"B{number}"},
        "emails": [{"value": f"user{number}@example.org", "type": "work", "primary": True}],
    }


def timed(act: Any) -> float:
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def measure(contenders: Sequence[Contender]) -> None:
    figures: dict[str, dict[str, list[float]]] = {}
    for number in range(ROUNDS):
        for each in contenders:  # alternately, so that both have the same conditions
            figures.setdefault("page of 100 users", {}).setdefault(each.name, []).append(each.page())
            for size in SIZES:
                named = f"one member more in a group of {size:,}"
                figures.setdefault(named, {}).setdefault(each.name, []).append(each.add(size, number))
    for what, times in figures.items():
        medians = {name: statistics.median(each) for name, each in times.items()}
        told = ", ".join(f"{name} {median:.1f} ms" for name, median in medians.items())
        print(f"{what}: {told}; {max(medians.values()) / min(medians.values()):.1f} times")


def main(peer: str) -> None:
    roster, other = free_port(), free_port()
    urls = {"Roster": f"http://127.0.0.1:{roster}/scim/v2", "scim2-server": f"http://127.0.0.1:{other}"}
    served = [str(Path(sys.executable).parent / "roster"), "serve", "--port", str(roster)]
    peers = [peer, "--hostname", "127.0.0.1", "--port", str(other)]
    with running(served, urls["Roster"], {"ROSTER_LOG_LEVEL": "error"}), running(peers, urls["scim2-server"], {}):
        contenders = [Contender(name, url, checks_members=name == "Roster") for name, url in urls.items()]
        for each in contenders:
            each.fill()
        measure(contenders)


if __name__ == "__main__":
    main(sys.argv[1])

"""`python -m bench layers`: the CPU that each layer uses for a request, in one process, without an HTTP server."""

import asyncio
import gc
import json
import os
import runpy
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop
from dependency_injector import providers

from api.app import create_app
from api.container import Container
from api.monitoring.metrics import Metrics
from api.process.logs import configure_logs
from api.settings import LogFormat, Settings
from api.web.middleware import RequestMiddleware
from bench.contenders import PEERS
from bench.errors import BenchError
from bench.operations import RATIO_CLIENTS
from bench.results import write_section
from bench.tables import table
from domain.idempotency import Committed
from domain.keys import NewKey, Scope
from domain.lists.pages import Page
from domain.users import NewUser, User
from domain.work import RequestContext

CONTEXT: Final = RequestContext(actor="bench", request_id="-")
REQUESTS: Final = 300
PAGE: Final = 100

App = Callable[..., Awaitable[None]]


def declare(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=25, help="how many, 25 by default")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")


def run(options: Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="roster-bench-") as folder,
        (Path(folder) / "log").open("w") as log,
        redirect_stdout(log),
    ):
        found = uvloop.run(measured(Path(folder), options.rounds))
    text = shown(found)
    sys.stdout.write(f"{text}\n")
    if options.write_docs:
        write_section("layers", text)
    return 0


Found = Mapping[tuple[str, str], float]
"""CPU microseconds per request, by layer and operation."""


async def measured(folder: Path, rounds: int) -> Found:
    settings = Settings(database_url=f"sqlite:///{folder / 'roster.db'}", log_format=LogFormat.JSON)
    configure_logs(settings)
    whole = Container(settings=providers.Object(settings))
    units = whole.units()
    await units.start()
    try:
        secret = await filled(whole)
        samples: dict[tuple[str, str], list[float]] = {}
        stack = await layers(whole, settings)
        gc.freeze()  # as a server does
        for _ in range(rounds):
            for operation, request in requests(secret).items():
                for name, app in stack.items():
                    samples.setdefault((name, operation), []).append(await cpu_us(app, request))
        return {key: median(found) for key, found in samples.items()}
    finally:
        await units.stop()


async def filled(whole: Container) -> str:
    users = whole.users(CONTEXT)
    for number in range(1, PAGE + 20):
        await users.create(NewUser(name=f"User {number}", email=f"user{number}@example.org"))
    _, secret = (await whole.keys(CONTEXT).create(NewKey(name="bench", scopes=tuple(Scope)))).result
    return str(secret)


async def layers(whole: Container, settings: Settings) -> Mapping[str, App]:
    """Each layer contains the layers before it."""
    fastapi = floor()
    users = (await whole.users(CONTEXT).list(limit=PAGE + 1)).items
    ready = Container(settings=providers.Object(settings), units=providers.Object(Ready(whole.units(), users)))
    return {
        "FastAPI, with response models": fastapi,
        "with Roster's edge: id, log line, metrics, headers": RequestMiddleware(fastapi, Metrics("sqlite")),
        "with its routes, keys, rules and services": create_app(ready),
        "with its stores, on SQLite": create_app(whole),
    }


def floor() -> App:
    os.environ["BENCH_USERS"] = str(PAGE)
    app: App = runpy.run_path(str(PEERS / "floor_typed.py"))["app"]
    return app


class Ready:
    """Units of work with prepared answers. They use the real ones only for keys."""

    def __init__(self, units: Any, users: Sequence[User]) -> None:
        self._units = units
        self._users = users
        self.now = users[0].created_at

    def reading(self, _: RequestContext | None = None) -> AbstractAsyncContextManager[Any]:
        return nullcontext(ReadyUnit(self, self._units))

    @asynccontextmanager
    async def writing(self, _: RequestContext) -> Any:
        yield ReadyUnit(self, self._units)

    async def get(self, id: int) -> User:
        return self._users[id - 1]

    async def page(self, **_: object) -> Page[User]:
        return Page.of(self._users, PAGE)

    async def add(self, new: NewUser) -> User:
        return User(id=1, name=new.name, created_at=self.now, updated_at=self.now, version=1, email=new.email)


@dataclass(slots=True)
class ReadyUnit:
    users: Ready
    units: Any

    @property
    def now(self) -> datetime:
        return self.users.now

    @property
    def keys(self) -> Any:
        return WithKeys(self.units)

    async def commit(self, result: User) -> Committed[User]:
        return Committed(result, 1)


class WithKeys:
    def __init__(self, units: Any) -> None:
        self._units = units

    async def digests(self, id: int) -> Any:
        async with self._units.reading() as work:
            return await work.keys.digests(id)

    async def get(self, id: int, *, hidden: bool = False) -> Any:
        async with self._units.reading() as work:
            return await work.keys.get(id, hidden=hidden)

    async def touch(self, id: int, at: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: Callable[[], bytes] = bytes


def requests(secret: str) -> Mapping[str, Request]:
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {secret}".encode())]
    return {
        "get": Request("GET", "/users/5", b"", headers),
        "list": Request("GET", "/users/", f"limit={PAGE}".encode(), headers),
        "create": Request("POST", "/users/", b"", [*headers, (b"content-type", b"application/json")], new_user),
    }


numbers: Final = count(1)


def new_user() -> bytes:
    return json.dumps({"name": "User", "email": f"new{next(numbers)}@example.org"}).encode()


async def cpu_us(app: App, request: Request) -> float:
    """CPU µs per request of this process and its database threads, with `RATIO_CLIENTS` concurrent requests."""
    left = iter(range(REQUESTS))
    started = time.process_time()
    await asyncio.gather(*(ask_all(app, request, left) for _ in range(RATIO_CLIENTS)))
    return (time.process_time() - started) / REQUESTS * 1e6


async def ask_all(app: App, request: Request, left: Any) -> None:
    for _ in left:
        await ask(app, request)


async def ask(app: App, request: Request) -> None:
    body = request.body()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message.get("status", 200) not in (200, 201):
            raise BenchError(f"{request.method} {request.path} was answered by {message['status']}.")

    await app(scope_of(request, body), receive, send)


def scope_of(request: Request, body: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        "headers": [*request.headers, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


def shown(found: Found) -> str:
    names = list(dict.fromkeys(name for name, _ in found))
    operations = list(dict.fromkeys(operation for _, operation in found))
    rows = [[name, *(cell(found, names[:at], name, each) for each in operations)] for at, name in enumerate(names)]
    return table(["", *operations], rows)


def cell(found: Found, before: Sequence[str], name: str, operation: str) -> str:
    """The cost of a layer, and the difference to the layer before."""
    cost = found[name, operation]
    return f"{cost:.0f}" if not before else f"{cost:.0f} (+{cost - found[before[-1], operation]:.0f})"

"""The server process: uvicorn, held to bounds that it does not have of its own, and stopped in good order."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import uuid
from importlib.metadata import version
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn
import uvloop
from dependency_injector import providers
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from api.app import create_app
from api.container import Container, Database
from api.logs import configure_logs, is_for_console
from api.metrics import shared_by_workers
from api.problems import CODES, MEDIA_TYPE, title_of
from api.routing import BODY_TIMEOUT_S
from api.settings import Settings
from domain.errors import Invalid, NotReady
from domain.work import Occasion

HEAD_TIMEOUT_S: Final = 10
"""How long a request's line and headers may take to arrive, from the connection's or their first byte."""

REST_TIMEOUT_S: Final = BODY_TIMEOUT_S + 5
"""The same for the rest of it, whether anybody reads it or not; who reads it answers 408 before that."""

STALL_TIMEOUT_S: Final = 30
"""How long a client may take none of what it is sent."""

MAX_HEAD_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 8 * 1024
KEEP_ALIVE_S: Final = 5
BACKLOG: Final = 2048

log = structlog.get_logger("roster")


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, that waits for no part of a request for ever, nor reads a head without end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._expect_more_within(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_more()
        self._watch_no_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        self._watch_no_stall()
        super().resume_writing()

    def _watch_stall(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_TIMEOUT_S, self._cut_off_if_stalled, unsent)

    def _watch_no_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _cut_off_if_stalled(self, unsent: int) -> None:
        """Closed in good order, a connection would wait for ever for its client to take what is still unsent."""
        if self.transport.get_write_buffer_size() < unsent:
            self._watch_stall()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Takes heads in small pieces: the parser tells how long one is only when it is complete."""
        while data and not self._in_body and not self.transport.is_closing():
            piece, data = data[:PIECE_BYTES], data[PIECE_BYTES:]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._head_is_too_long():
                self._refuse(431, "headers_too_large", f"The headers hold at most {MAX_HEAD_BYTES} bytes.")
        if data and not self.transport.is_closing():
            super().data_received(data)

    def _head_is_too_long(self) -> bool:
        return not self._in_body and self._head_bytes > MAX_HEAD_BYTES

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._timer is None:
            self._expect_more_within(HEAD_TIMEOUT_S)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._in_body = True
        self._expect_more_within(REST_TIMEOUT_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._in_body = False
        self._expect_no_more()
        super().on_message_complete()

    def _expect_more_within(self, seconds: float) -> None:
        self._expect_no_more()
        self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _expect_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, seconds: float) -> None:
        """Close the connection, but not on a request that is being answered."""
        if self._is_answering():
            self._expect_more_within(seconds)
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, CODES[400], msg)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """A problem document for what is no request yet, so it has no path.

        Where an earlier request is still to be answered, that answer is the last: this one would be taken for it.
        """
        if self._is_answering() and (self.pipeline or self.cycle.response_started or not self.cycle.more_body):
            self.cycle.keep_alive = False
            return
        request_id = uuid.uuid4().hex
        document = {
            "type": f"urn:roster:problem:{code}",
            "title": title_of(status),
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id,
        }
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {status} {title_of(status)}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        log.info("refused", request_id=request_id, status=status, client=self.client[0] if self.client else None)


class Server(uvicorn.Server):
    """A server that takes a signal to stop as an order that it carries out: it exits with 0."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises `NotReady` if that cannot be."""
    configure_logs(settings)
    if settings.workers == 1:
        uvloop.run(serve_alone(settings))
    else:
        serve_with_workers(settings)


async def serve_alone(settings: Settings) -> None:
    container = Container(settings=providers.Object(settings))
    units = container.units()
    await units.start()  # before the server does, which would tell of a refusal by a traceback
    try:
        await lock_the_door(container)
        with listen(settings) as listener:
            announce(settings, listener, container.database())
            app = app_to_stay(container, settings)
            await Server(config_of(settings, app)).serve(sockets=[listener])
    finally:
        await units.stop()


async def lock_the_door(container: Container) -> None:
    """Seed the first key, if there is to be one. Raises `NotReady` if anybody could come in from outside."""
    settings = container.settings()
    if (secret := settings.bootstrap_secret()) is not None:
        await seed(container, secret)
    if not settings.is_at_home() and not await container.access().is_locked():
        raise NotReady(
            f"Without any key the directory would be open to whoever reaches {settings.host}. Create one first: "
            "roster keys create admin --scope keys:admin; or listen on 127.0.0.1, or set ROSTER_BOOTSTRAP_KEY."
        )


async def seed(container: Container, secret: str) -> None:
    try:
        await container.keys(Occasion(actor="bootstrap", request_id="-")).seed(secret)
    except Invalid:
        raise NotReady("The bootstrap key is not of the form. Make one: roster keys generate") from None


def serve_with_workers(settings: Settings) -> None:
    """Several processes on one socket. They read their settings from the environment."""
    if settings.engine == "sqlite":
        raise NotReady("SQLite is for one server process. For more workers set a postgresql:// --database-url.")
    os.environ.update(settings.environment())
    container = Container(settings=providers.Object(settings))
    uvloop.run(look_before(container))
    listener = listen(settings)
    announce(settings, listener, container.database())
    config = config_of(settings, "api.server:worker", factory=True, workers=settings.workers)
    with shared_by_workers() as figures:
        Workers(config, [listener], figures).run()


class Workers(Multiprocess):
    """The figures of a worker that is gone stay, but not what it had in flight and in use."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], figures: str) -> None:
        super().__init__(config, sockets)
        self._figures = figures
        self._known: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        alive = {process.pid for process in self.processes}
        for pid in self._known - alive:
            mark_process_dead(pid, self._figures)  # type: ignore[no-untyped-call]
        self._known = alive


async def look_before(container: Container) -> None:
    """Start once here, for whatever is wrong to be said once and not by each worker."""
    await container.units().start()
    try:
        await lock_the_door(container)
    finally:
        await container.units().stop()


def worker() -> FastAPI:
    settings = Settings()
    configure_logs(settings)
    return app_to_stay(Container(), settings)


def app_to_stay(container: Container, settings: Settings) -> FastAPI:
    """The app, none of which is garbage while it is served: to look for any in it is a tenth of a request's CPU."""
    app = create_app(container, open_at_home=settings.is_at_home())
    gc.freeze()
    return app


def config_of(settings: Settings, app: FastAPI | str, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the app's own has the request id, and no paths
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.shutdown_s,
        **options,
    )


def listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise NotReady(f"Cannot listen on {where}: {error.strerror}. Choose others by --host and --port.") from error


def announce(settings: Settings, listener: socket.socket, database: Database) -> None:
    """Say where the API is, in a form to read or, in a log of JSON, to parse."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    facts = {"api": url, "docs": f"{url}/docs", "database": database.name, "version": version("roster")}
    if is_for_console(settings):
        sys.stdout.write("".join(f"  {name:<9} {fact}\n" for name, fact in facts.items()))
    else:
        log.info("serving", **facts)
    if database.warning:
        log.warning(database.warning)

"""The start of a server: the first key, the socket, the app, uvicorn's settings."""

import gc
import os
import socket
import sys
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app, serves_console
from api.container import Container, Database
from api.process.logs import is_for_console
from api.process.protocol import Protocol
from api.settings import Settings
from api.version import VERSION
from domain.errors import Invalid, NotReady
from domain.work import RequestContext

log = structlog.get_logger("roster")

KEEP_ALIVE_S: Final = 5
BACKLOG: Final = 2048
ACCEPTED_IN_A_TURN: Final = 64


async def require_key_unless_local(container: Container) -> None:
    """Create the first key, if its secret is set. Raises `NotReady` if other machines could call without a key."""
    settings = container.settings()
    if (secret := settings.bootstrap_secret()) is not None:
        await seed(container, secret)
    if not settings.is_local() and not await container.authenticator().needs_key():
        raise NotReady(
            f"Without any key the directory would be open to all who can reach {settings.host}. Create one first: "
            "roster keys create admin --all-scopes; or listen on 127.0.0.1, or set ROSTER_BOOTSTRAP_KEY."
        )


async def seed(container: Container, secret: str) -> None:
    try:
        seeded = await container.keys(RequestContext(actor="bootstrap", request_id="-")).seed(secret)
    except Invalid:
        raise NotReady("The bootstrap key has the wrong form. Make one: roster keys generate") from None
    if seeded is not None:
        log.info("key seeded", key=seeded.result.id)


def long_lived_app(container: Container, settings: Settings) -> FastAPI:
    """The app. It is excluded from garbage collection, because scanning it would take a tenth of the CPU of a
    request."""
    app = create_app(container, open_locally=settings.is_local(), delivers=True)
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
        access_log=False,  # the middleware logs each request, with its id and without its path
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.shutdown_s,
        **options,
    )


def listen(settings: Settings, fd: int | None = None) -> socket.socket:
    """The socket to serve on: the open socket with the descriptor `fd`, or a new one."""
    if fd is not None:
        return inherited(fd)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise NotReady(f"Cannot listen on {where}: {error.strerror}. Choose others by --host and --port.") from error


def together(listener: socket.socket) -> list[socket.socket]:
    """The socket, as often as connections are to be accepted in a turn of the event loop: libuv accepts one on each.

    Under load a turn takes many milliseconds, and hundreds of clients that connect at once waited for seconds.
    """
    return [listener, *[listener.dup() for _ in range(ACCEPTED_IN_A_TURN - 1)]]


def inherited(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=os.dup(fd))  # a copy, because the descriptor itself belongs to the caller
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise NotReady(f"The descriptor {fd} is not a socket: {error.strerror}.") from error
    if not listens or listener.family not in {socket.AF_INET, socket.AF_INET6}:
        listener.close()
        raise NotReady(f"The descriptor {fd} is not a TCP socket that listens.")
    listener.setblocking(False)
    return listener


async def console_path(container: Container) -> str:
    """The path of the console. On a terminal, while there are no keys, it is a link that works once. Links are never
    logged."""
    settings = container.settings()
    if not is_for_console(settings) or await container.authenticator().needs_key():
        return "/console/"
    token = await container.keys(RequestContext(actor="serve", request_id="-")).link(None)
    return f"/console/link/{token.result}"


def announce(settings: Settings, listener: socket.socket, database: Database, console: str) -> None:
    """Print the addresses of the server: for people on a terminal, otherwise as a log event."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    facts = {"api": url, "docs": f"{url}/docs", "database": database.name, "version": VERSION}
    if serves_console(settings):
        facts = {"console": url + console, **facts}
    if is_for_console(settings):
        sys.stdout.write("".join(f"  {name:<9} {fact}\n" for name, fact in facts.items()))
    else:
        log.info("serving", **facts)
    if database.warning:
        log.warning(database.warning)

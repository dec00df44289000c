"""Several server processes on one socket, on PostgreSQL."""

import os
import secrets
import socket
from typing import Final

import structlog
import uvicorn
import uvloop
from dependency_injector import providers
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from api.container import Container
from api.metrics import shared_by_workers
from api.process.logs import configure_logs
from api.process.startup import announce, config_of, console_path, listen, long_lived_app, require_key_unless_local
from api.settings import Settings
from domain.errors import NotReady

SILENT_WORKER_S: Final = 30
"""How long a worker may leave the supervisor's pings without an answer before another takes its place.

uvicorn's own five seconds are fewer than a worker takes to start on a busy machine: it would be killed each time.
"""

log = structlog.get_logger("roster")


def serve_with_workers(settings: Settings, fd: int | None = None) -> None:
    """Run the workers until a signal to stop. They read their settings from the environment."""
    if settings.engine == "sqlite":
        raise NotReady("SQLite is for one server process. For more workers set a postgresql:// --database-url.")
    os.environ.update(settings.environment())
    os.environ.setdefault("ROSTER_CONSOLE_SECRET", secrets.token_urlsafe())  # one for all workers
    container = Container(settings=providers.Object(settings))
    console = uvloop.run(check_start(container))
    listener = listen(settings, fd)
    announce(settings, listener, container.database(), console)
    config = config_of(
        settings,
        "api.process.workers:worker",
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=SILENT_WORKER_S,
    )
    with shared_by_workers() as figures:
        Workers(config, [listener], figures).run()


class Workers(Multiprocess):
    """Keeps the counters of a worker that has ended, and drops its gauges: requests in flight, connections in use."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], figures: str) -> None:
        super().__init__(config, sockets)
        self._figures = figures
        self._known: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        alive = {process.pid for process in self.processes}
        for pid in self._known - alive:
            log.error("worker died", pid=pid)
            mark_process_dead(pid, self._figures)  # type: ignore[no-untyped-call]
        for pid in alive - self._known if self._known else ():
            log.info("worker started in its place", pid=pid)
        self._known = alive


async def check_start(container: Container) -> str:
    """Start once here, so that a problem is reported once and not by each worker. Returns the way into the console."""
    await container.units().start()
    try:
        await require_key_unless_local(container)
        return await console_path(container)
    finally:
        await container.units().stop()


def worker() -> FastAPI:
    settings = Settings()
    configure_logs(settings)
    return long_lived_app(Container(), settings)

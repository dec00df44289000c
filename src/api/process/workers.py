"""Several server processes on one socket, on PostgreSQL."""

import os
import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import uvicorn
import uvloop
from dependency_injector import providers
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from api.container import Container
from api.monitoring.metrics import shared_by_workers
from api.process.logs import configure_logs
from api.process.startup import (
    announce,
    config_of,
    console_path,
    listen,
    long_lived_app,
    require_key_unless_local,
    together,
)
from api.settings import Settings
from domain.errors import NotReady

SILENT_WORKER_S: Final = 30
"""Seconds after which a worker that does not answer the supervisor's pings is replaced.

uvicorn's default is five seconds. On a busy machine a worker needs longer than that to start, and would be killed each
time.
"""

log = structlog.get_logger("roster")


def serve_with_workers(settings: Settings, fd: int | None = None) -> None:
    """Run workers until a signal to stop. They read their settings from the environment."""
    if settings.engine == "sqlite":
        raise NotReady("SQLite is for one server process. For more workers set a postgresql:// --database-url.")
    os.environ.update(settings.environment())
    os.environ.setdefault("ROSTER_CONSOLE_SECRET", secrets.token_urlsafe())  # one for all workers
    container = Container(settings=providers.Object(settings))
    console = uvloop.run(check_start(container))
    listener = listen(settings, fd)
    config = config_of(
        settings,
        "api.process.workers:worker",
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=SILENT_WORKER_S,
    )
    with shared_by_workers() as figures:
        Workers(config, listener, figures, partial(announce, settings, listener, container.database(), console)).run()


class Workers(Multiprocess):
    """The supervisor of workers. It keeps the counters of a worker that has ended, and drops its gauges, such as
    connections in use.

    `announce` is called when all workers serve.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, figures: str, announce: Callable[[], None]
    ) -> None:
        super().__init__(config, together(listener))
        self._figures = figures
        self._announce = announce
        self._has_announced = False
        self._known: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        for pid in self._gone():
            log.error("worker died", pid=pid)
        self._meet()
        if not self._has_announced and all(process.is_ready() for process in self.processes):
            self._has_announced = True
            self._announce()

    def restart_all(self) -> None:
        """On SIGHUP, replace the workers one after the other. Each new worker loads the program again."""
        super().restart_all()
        for pid in self._gone():
            log.info("worker ended", pid=pid)
        self._meet()

    def _gone(self) -> set[int | None]:
        return self._known - self._alive()

    def _alive(self) -> set[int | None]:
        return {process.pid for process in self.processes}

    def _meet(self) -> None:
        """Know those that are there now, and no others."""
        for pid in self._gone():
            mark_process_dead(pid, self._figures)  # type: ignore[no-untyped-call]
        for pid in self._alive() - self._known if self._known else ():
            log.info("worker started in its place", pid=pid)
        self._known = self._alive()


async def check_start(container: Container) -> str:
    """Try the start once here, so that a problem is reported once and not by each worker. Returns the path of the
    console."""
    await container.units().start()
    try:
        await container.database().require_sessions()
        await require_key_unless_local(container)
        return await console_path(container)
    finally:
        await container.units().stop()


def worker() -> FastAPI:
    settings = Settings()
    configure_logs(settings)
    return long_lived_app(Container(), settings)

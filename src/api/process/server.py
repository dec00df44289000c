"""The server process: it runs uvicorn after all checks, and stops it cleanly."""

import os
import platform
import signal
from types import FrameType

import structlog
import uvicorn
import uvloop
from dependency_injector import providers

from api.container import Container
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
from api.process.workers import serve_with_workers
from api.settings import Settings
from api.version import VERSION

log = structlog.get_logger("roster")


class Server(uvicorn.Server):
    """A server whose exit code is 0 after a signal to stop, because that is a normal end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: Settings, fd: int | None = None) -> None:
    """Serve until a signal to stop. With `fd`, serve on that open socket.

    Raises `NotReady` if the server cannot start.
    """
    configure_logs(settings)
    log.info("starting", version=VERSION, python=platform.python_version(), pid=os.getpid())
    for warning in Settings.unknown():
        log.warning(warning)
    if settings.workers == 1:
        uvloop.run(serve_alone(settings, fd))
    else:
        serve_with_workers(settings, fd)
    log.info("stopped", pid=os.getpid())


def handover_s_of(settings: Settings) -> float:
    """How long the server before this one, on the same socket, may take to stop. Until then requests wait there."""
    return settings.drain_s + settings.shutdown_s + settings.limits.stop_s


async def serve_alone(settings: Settings, fd: int | None = None) -> None:
    handover_s = 0.0 if fd is None else handover_s_of(settings)
    container = Container(settings=providers.Object(settings), handover_s=providers.Object(handover_s))
    units = container.units()
    await units.start()  # before uvicorn does it, which would log a refusal as a traceback
    try:
        await container.database().require_sessions()
        await require_key_unless_local(container)
        with listen(settings, fd) as listener:
            app = long_lived_app(container, settings)
            announce(settings, listener, container.database(), await console_path(container))
            await Server(config_of(settings, app)).serve(sockets=together(listener))
    finally:
        await units.stop()

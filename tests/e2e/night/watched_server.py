"""The server, which prints on SIGUSR1 how many tasks and threads it has."""

import asyncio
import json
import signal
import sys
import threading
from types import FrameType
from unittest.mock import patch

import api.process.server
from api.commands.main import app
from api.container import Container
from api.process.startup import require_key_unless_local


def report(number: int, frame: FrameType | None) -> None:
    counts = {"event": "watched", "tasks": len(asyncio.all_tasks()), "threads": threading.active_count()}
    sys.stdout.write(json.dumps(counts) + "\n")
    sys.stdout.flush()


async def watch_and_go_on(container: Container) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, report, 0, None)
    await require_key_unless_local(container)


if __name__ == "__main__":
    with patch.object(api.process.server, "require_key_unless_local", watch_and_go_on):
        app()

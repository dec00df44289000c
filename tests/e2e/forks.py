"""Programs that are forked from a process that has loaded Roster, since loading it takes longer than most tests.

That process is this file as a script. Its standard input is a socket. Each message there is a program to start.
"""

import asyncio
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

COMMANDS: Final = Path(__file__).parents[2] / "src/api/commands"
LOADED: Final = (
    *(f"api.commands.{file.stem}" for file in COMMANDS.glob("*.py") if file.stem not in {"__init__", "main"}),
    "api.process.server",
    "api.console.app",
    "api.scim.app",
    "alembic.command",
    "alembic.config",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
"""The modules that servers and commands load. `main` itself is run."""
MAX_MESSAGE: Final = 1 << 20


@dataclass(eq=False)
class Forked:
    """A program, with what the tests use of `asyncio.subprocess.Process`."""

    pid: int
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    reports: asyncio.StreamReader
    returncode: int | None = None

    def __post_init__(self) -> None:
        self._end = asyncio.create_task(self._wait())

    async def _wait(self) -> int:
        self.returncode = int(await self.reports.readline())
        await self.reports.read()
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts programs. Each is a list as `python` takes it: `-m` and a module, or a file."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno(), env=environment)

    async def start(
        self, program: Sequence[str], arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> Forked:
        asked = {
            "program": list(map(str, program)), "arguments": arguments,
            "folder": str(folder), "environment": dict(environment),
        }  # fmt: skip
        ours, theirs = zip(*(os.pipe() for _ in range(3)), strict=True)
        socket.send_fds(self._control, [json.dumps(asked).encode()], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        stdout, stderr, reports = [await reader_of(descriptor) for descriptor in ours]
        return Forked(int(await reports.readline()), stdout, stderr, reports)

    def stop(self) -> None:
        self._control.close()
        self._process.wait()


async def reader_of(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


def main() -> None:
    control = socket.socket(fileno=0)
    for module in LOADED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no end of a child is waited for here
    while True:
        message, descriptors, *_ = socket.recv_fds(control, MAX_MESSAGE, 3)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stdout, stderr, reports = descriptors
            if pid := os.fork():
                report(pid, reports, stdout, stderr)
            become(json.loads(message), stdout, stderr)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def report(pid: int, reports: int, *others: int) -> None:
    """Reports the id of a process, and its exit status when it has ended."""
    for descriptor in others:  # which end with the process
        os.close(descriptor)
    os.write(reports, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(reports, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(asked: dict[str, Any], stdout: int, stderr: int) -> None:
    """Runs the requested program, as if Python had been started with it."""
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
        os.dup2(descriptor, number)
    os.closerange(3, 64)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    random.seed()
    program, *module = asked["program"]
    sys.argv = [program, *asked["arguments"]]
    if module:
        runpy.run_module(module[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()

"""Posting through a separate process (`process.py`). It is started for the first message, and replaced if it ends."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from api.delivery.frames import ALLOW_PRIVATE, frame, read_frame
from api.extras import WEBHOOKS
from domain.deliveries import Answer

log = structlog.get_logger("roster")

NOT_INSTALLED: Final = "Roster was installed without the extra webhooks, so it has no HTTP client."
NO_PROCESS: Final = "The process that sends messages keeps ending."

PROCESSES: Final = 3
"""How many processes, one after the other, get a message until one of them answers."""

ANSWERS_WITHIN_S: Final = 30.0
"""Seconds after which a process that has not answered is killed. It waits for a receiver only half as long."""

ENDS_WITHIN_S: Final = 5.0


class Ended(Exception):  # not an error, but what usually happens
    """The process has ended without an answer."""


class Process:
    """A sending process, and the messages that it has not answered yet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # both are pipes
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._numbers = count(1)
        self._owed: dict[int, asyncio.Future[Answer]] = {}
        self.pid = process.pid
        self.has_ended = False
        self._reading = asyncio.create_task(self._read())

    async def send(self, *message: Any) -> Answer:
        """Send a message and wait for its answer. Raises `Ended`. If the task is cancelled, sending is cancelled
        too."""
        if self.has_ended:
            raise Ended
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._owed[number] = answer
        self._input.write(frame(number, *message))
        too_late = asyncio.get_running_loop().call_later(ANSWERS_WITHIN_S, self._kill)
        try:
            return await answer
        except asyncio.CancelledError:
            self._input.write(frame(number))
            raise
        finally:
            too_late.cancel()
            del self._owed[number]

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                number, milliseconds, status, text, retry_after, error = await read_frame(self._output)
                if number in self._owed and not self._owed[number].done():
                    answer = Answer(
                        milliseconds=milliseconds, status=status, text=text, retry_after=retry_after, error=error
                    )
                    self._owed[number].set_result(answer)
                    await asyncio.sleep(0)  # let requests run in between
        self.has_ended = True
        for owed in self._owed.values():
            if not owed.done():
                owed.set_exception(Ended())
        await self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        self._input.close()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await asyncio.shield(self._reading)
        except TimeoutError:
            self._kill()
            await self._reading


class Posting:
    """Posts messages through a process, and starts one if there is none. It raises nothing except cancellation."""

    def __init__(self, allow_private: bool) -> None:
        self._options = [ALLOW_PRIVATE] if allow_private else []
        self._process: Process | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._process is None and not WEBHOOKS.is_installed():
            return Answer(milliseconds=0, error=NOT_INSTALLED)
        for _ in range(PROCESSES):
            with suppress(Ended, OSError):
                process = await self._running()
                return await process.send(url, dict(headers), body.decode())
        log.error(NO_PROCESS)
        return Answer(milliseconds=0, error=NO_PROCESS)

    async def _running(self) -> Process:
        """The running process. Raises `OSError` if none can be started."""
        if self._process is not None and not self._process.has_ended:
            return self._process
        async with self._starting:
            if self._process is None or self._process.has_ended:
                self._process = Process(
                    await asyncio.create_subprocess_exec(
                        *(sys.executable, "-P", "-m", "api.delivery.process", *self._options),
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        env={name: value for name, value in os.environ.items() if not name.startswith("ROSTER_")},
                    )
                )
            return self._process

    async def close(self) -> None:
        if self._process is not None:
            await self._process.close()
            self._process = None

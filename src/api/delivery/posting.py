"""Posting through a separate process (`process.py`). It is started for the first message, and replaced if it ends."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, cast

import structlog

from api.delivery.frames import ALLOW_PRIVATE, Frames, Writer
from domain.delivery.deliveries import Answer

log = structlog.get_logger("roster")

NO_PROCESS: Final = "The process that sends messages keeps ending."

PROCESSES: Final = 3
"""How many processes, one after the other, get a message until one of them answers."""

ANSWERS_WITHIN_S: Final = 30.0
"""Seconds after which a process that has not answered is killed. It waits for a receiver only half as long."""

ENDS_WITHIN_S: Final = 5.0


@dataclass(slots=True, eq=False)
class Message:
    """A message on its way, how many processes have got it, and when the last of them has to have answered."""

    content: Sequence[Any]
    answer: asyncio.Future[Answer]
    processes: int = 0
    due_at: float = 0.0


class Process(asyncio.SubprocessProtocol):
    """A sending process, and the messages that it has not answered yet. `ended` is called with those at its end."""

    def __init__(self, ended: Callable[[Sequence[Message]], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._numbers = count(1)
        self._owed: dict[int, Message] = {}
        self._check: asyncio.TimerHandle | None = None
        self.has_ended = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._input = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._messages = Writer(self._input)
        self.pid = self._transport.get_pid()

    def send(self, message: Message) -> None:
        """Send a message. If its answer is cancelled, sending is cancelled too."""
        number = next(self._numbers)
        message.processes += 1
        message.due_at = self._loop.time() + ANSWERS_WITHIN_S
        self._owed[number] = message
        message.answer.add_done_callback(partial(self._is_over, number))
        self._messages.put(number, *message.content)
        if self._check is None:
            self._check = self._loop.call_later(ANSWERS_WITHIN_S, self._check_oldest)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  # only its output is a pipe to read
        for number, milliseconds, status, text, retry_after, error in self._frames.take(data):
            message = self._owed.get(number)
            if message is not None and not message.answer.done():
                message.answer.set_result(
                    Answer(milliseconds=milliseconds, status=status, text=text, retry_after=retry_after, error=error)
                )

    def _is_over(self, number: int, answer: asyncio.Future[Answer]) -> None:
        if self._owed.pop(number, None) is not None and answer.cancelled():
            self._messages.put(number)
        if not self._owed and self._check is not None:
            self._check.cancel()
            self._check = None

    def _check_oldest(self) -> None:
        """Kill the process if it has owed its oldest answer for too long."""
        oldest = next(iter(self._owed.values()))
        left_s = oldest.due_at - self._loop.time()
        if left_s <= 0:
            self._kill()
        else:
            self._check = self._loop.call_later(left_s, self._check_oldest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the library defines this signature
        if self._check is not None:
            self._check.cancel()
        owed, self._owed = [message for message in self._owed.values() if not message.answer.done()], {}
        self._transport.close()
        self.has_ended.set_result(None)
        self._ended(owed)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._transport.kill()

    async def close(self) -> None:
        for message in self._owed.values():
            message.answer.cancel()
        self._input.close()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await asyncio.shield(self.has_ended)
        except TimeoutError:
            self._kill()
            await self.has_ended


class Posting:
    """Posts messages through a process, and starts one if there is none. It raises nothing except cancellation."""

    def __init__(self, allow_private: bool) -> None:
        self._options = [ALLOW_PRIVATE] if allow_private else []
        self._process: Process | None = None
        self._waiting: list[Message] = []
        self._starting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Awaitable[Answer]:
        message = Message((url, headers, body.decode()), asyncio.get_running_loop().create_future())
        self._send([message])
        return message.answer

    def _send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the process. If there is none, they wait until one is started."""
        for message in messages:
            if message.answer.done():
                continue
            if message.processes >= PROCESSES:
                log.error(NO_PROCESS)
                message.answer.set_result(Answer(milliseconds=0, error=NO_PROCESS))
            elif self._process is not None:
                self._process.send(message)
            else:
                self._waiting.append(message)
        if self._waiting and self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        try:
            _, self._process = await asyncio.get_running_loop().subprocess_exec(
                lambda: Process(self._replace),
                *(sys.executable, "-P", "-m", "api.delivery.process", *self._options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                env={name: value for name, value in os.environ.items() if not name.startswith("ROSTER_")},
            )
        except OSError:
            for message in self._waiting:
                message.processes += 1
        finally:
            self._starting = None
        waiting, self._waiting = self._waiting, []
        self._send(waiting)

    def _replace(self, owed: Sequence[Message]) -> None:
        """The process has ended. Start another one for what it owed."""
        self._process = None
        self._send(owed)

    async def close(self) -> None:
        if self._starting is not None:
            await self._starting
        if self._process is not None:
            await self._process.close()

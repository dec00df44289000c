"""The process that sends messages: it reads them from its standard input, and writes the answers to its standard
output.

Most of the CPU of a delivery is spent in the HTTP client. In a separate process it does not slow the server's requests
down. Answers of receivers are parsed in a process that has no access to the database or the settings. The process ends
when its input ends, which happens when the server ends, even if it is killed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

import uvloop

from api.delivery.frames import ALLOW_PRIVATE, Frames, Writer
from api.delivery.network import PublicNetwork
from api.delivery.poster import Poster

NICENESS: Final = 10
"""A lower priority, so that on a busy machine requests go before deliveries."""


def give_way() -> None:
    """Let other processes run first. A dozen messages come at a time and take milliseconds together, and the system
    looks at priorities only every few milliseconds."""
    os.sched_yield()


class Messages:
    """The messages that are being sent, by number."""

    def __init__(self, poster: Poster, answers: Writer) -> None:
        self._poster = poster
        self._answers = answers
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int, url: str, headers: Mapping[str, str], body: str) -> None:
        task = asyncio.create_task(self._send(number, url, headers, body.encode()))
        self._under_way[number] = task
        task.add_done_callback(lambda _: self._under_way.pop(number))

    def cancel(self, number: int) -> None:
        if number in self._under_way:
            self._under_way[number].cancel()

    async def _send(self, number: int, url: str, headers: Mapping[str, str], body: bytes) -> None:
        give_way()
        answer = await self._poster(url, headers, body)
        give_way()
        kept = (answer.milliseconds, answer.status, answer.beginning or "", answer.retry_after, answer.error)
        self._answers.put(number, *kept)


class Input(asyncio.Protocol):
    """The pipe from the server."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._frames = Frames()

    def data_received(self, data: bytes) -> None:
        for number, *message in self._frames.take(data):
            if message:
                self._messages.begin(number, *message)
            else:
                self._messages.cancel(number)

    def eof_received(self) -> None:
        os._exit(0)  # at once: if the server was killed, another one may soon deliver the same messages


async def send_all(*, allow_private: bool) -> None:
    loop = asyncio.get_running_loop()
    output, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    poster = Poster(PublicNetwork(allow_private=allow_private), allow_http=allow_private)
    messages = Messages(poster, Writer(output))
    await loop.connect_read_pipe(lambda: Input(messages), sys.stdin)
    await loop.create_future()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal or systemd sends these to every process
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    uvloop.run(send_all(allow_private=ALLOW_PRIVATE in sys.argv))

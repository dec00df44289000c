"""The process that sends messages: it reads them from its input, and writes their answers to its output.

The HTTP client takes most of a delivery's CPU. Here it takes none from the server's requests, and what receivers answer
is parsed where there is no database and no secret. The process ends when its input does: with the server, however that
ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

import uvloop

from api.delivery.frames import ALLOW_PRIVATE, frame, read_frame
from api.delivery.network import PublicNetwork
from api.delivery.poster import Poster

NICENESS: Final = 5
"""On a busy machine requests go before deliveries."""


class Messages:
    """Those that are under way, by their numbers."""

    def __init__(self, poster: Poster, output: asyncio.WriteTransport) -> None:
        self._poster = poster
        self._output = output
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int, url: str, headers: Mapping[str, str], body: str) -> None:
        task = asyncio.create_task(self._send(number, url, headers, body.encode()))
        self._under_way[number] = task
        task.add_done_callback(lambda _: self._under_way.pop(number))

    def cancel(self, number: int) -> None:
        if number in self._under_way:
            self._under_way[number].cancel()

    async def _send(self, number: int, url: str, headers: Mapping[str, str], body: bytes) -> None:
        answer = await self._poster(url, headers, body)
        kept = (answer.milliseconds, answer.status, answer.beginning or "", answer.retry_after, answer.error)
        self._output.write(frame(number, *kept))


async def send_all(*, allow_private: bool) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    output, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    messages = Messages(Poster(PublicNetwork(allow_private=allow_private), allow_http=allow_private), output)
    while True:
        try:
            number, *message = await read_frame(reader)
        except asyncio.IncompleteReadError:
            os._exit(0)  # at once: if the server was killed, another may deliver the same in a moment
        if message:
            messages.begin(number, *message)
        else:
            messages.cancel(number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # which a terminal or systemd sends to every process
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    uvloop.run(send_all(allow_private=ALLOW_PRIVATE in sys.argv))

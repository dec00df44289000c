"""A receiver of webhooks in its own process, with as little cost as possible: `python -m bench.receiver`.

It prints its port, and for each line of its input the number of messages that it has received. Receivers are on other
machines. So this one has only the CPU that no other process wants (on Linux).
"""

import asyncio
import os
import sys
from typing import Any


class Receiver(asyncio.Protocol):
    """Answers 204 to every request, and counts."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.left = b""

    def data_received(self, data: bytes) -> None:
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            length = int(self.left[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self.left) < end + 4 + length:
                return
            self.left = self.left[end + 4 + length :]
            Receiver.taken += 1
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def main() -> None:
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        print(Receiver.taken, flush=True)


if __name__ == "__main__":
    asyncio.run(main())

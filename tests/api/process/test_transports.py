"""The head of an answer and its body are one write, and nothing waits longer than the iteration of the event loop."""

import asyncio
from typing import Any

import pytest

from api.process.transports import MOST_BYTES, Joining


class Socket(asyncio.Transport):
    """A transport that notes what is sent, and how it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes | str] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append("closed")
        self.closing = True

    def abort(self) -> None:
        self.sent.append("aborted")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 100


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
async def transport(socket: Socket) -> Joining:
    return Joining(socket, asyncio.get_running_loop())


async def test_two_writes_are_sent_together(transport: Joining, socket: Socket) -> None:
    transport.write(b"head ")
    transport.write(b"body")
    assert socket.sent == [b"head body"]


async def test_one_write_is_sent_at_the_end_of_the_iteration(transport: Joining, socket: Socket) -> None:
    transport.write(b"100 Continue")
    assert socket.sent == []
    assert transport.get_write_buffer_size() == 112
    await asyncio.sleep(0)
    assert socket.sent == [b"100 Continue"]
    assert transport.get_write_buffer_size() == 100


async def test_every_byte_is_sent_once_and_in_order(transport: Joining, socket: Socket) -> None:
    large = b"x" * (MOST_BYTES + 1)
    pieces = [b"a", b"b", b"c", large, b"d", large, large, b"e", b"f"]
    for piece in pieces:
        transport.write(piece)
    await asyncio.sleep(0)
    assert socket.sent == [b"ab", b"c", large, b"d", large, large, b"ef"]


async def test_a_close_sends_what_is_held_before_it(transport: Joining, socket: Socket) -> None:
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)
    assert socket.sent == [b"last", "closed"]


async def test_an_abort_sends_nothing_more(transport: Joining, socket: Socket) -> None:
    transport.write(b"never")
    transport.abort()
    await asyncio.sleep(0)
    assert socket.sent == ["aborted"]


async def test_nothing_is_sent_to_a_client_who_has_left(transport: Joining, socket: Socket) -> None:
    transport.write(b"never")
    socket.closing = True
    await asyncio.sleep(0)
    assert socket.sent == []

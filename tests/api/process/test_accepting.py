"""Clients that connect at the same time are accepted together. One in each turn of a busy loop would take seconds."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import uvloop

from api.process.startup import ACCEPTED_IN_A_TURN, together

CLIENTS: Final = 4 * ACCEPTED_IN_A_TURN


async def turns_to_accept(listeners: Sequence[socket.socket]) -> int:
    """How many turns of the event loop it takes to accept all waiting clients."""
    loop = asyncio.get_running_loop()
    accepted: list[asyncio.BaseTransport] = []

    class Counting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    servers = [await loop.create_server(Counting, sock=listener, backlog=CLIENTS) for listener in listeners]
    with ExitStack() as clients:
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(listeners[0].getsockname()))
        turns = 0
        while len(accepted) < CLIENTS:
            await asyncio.sleep(0)
            turns += 1
    for transport in accepted:
        transport.close()
    for server in servers:
        server.close()
    return turns


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=CLIENTS)


def test_many_clients_are_accepted_in_few_turns_of_the_event_loop() -> None:
    at_once = uvloop.run(turns_to_accept(together(listening())))
    one_by_one = uvloop.run(turns_to_accept([listening()]))
    assert one_by_one >= CLIENTS  # the twin: libuv accepts one on each socket
    assert at_once <= one_by_one / 4

"""Webhooks cannot be used for attacks: no URL leads to a connection to an address that is not public."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final, NoReturn

import pytest
from tests.api.delivery.conftest import Listener, posting

from api.delivery import network
from api.delivery.network import PublicNetwork, Resolve, look_up
from api.delivery.poster import TIMEOUT_S

OF_THIS_MACHINE: Final = [
    "127.0.0.1", "127.1", "127.0.1", "127.8.9.10", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "0x7f000001", "2130706433",
    "017700000001", "127.000.000.001", "127.0.0.1.", "0", "0.0.0.0", "00.0.0.0",
    "localhost", "LOCALHOST", "localhost.", "ip6-localhost", "LocalHost.LocalDomain", "[::1]", "[::]",
    "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]",
    "[::ffff:0.0.0.0]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%lo]", "[fe80::1%lo]",
    "127.0.0.1%00.example.org", "%31%32%37.0.0.1", "127.0.0.1%2f", "127。0。0。1", "①②⑦.0.0.1",
]  # fmt: skip
"""The notations of this machine."""

ELSEWHERE: Final = [
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.64.0.1",
    "[fd00:ec2::254]", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "[ff02::1]", "255.255.255.255",
]  # fmt: skip
"""Other addresses that are not public."""


@pytest.mark.parametrize("host", [*OF_THIS_MACHINE, socket.gethostname()])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_addresses_of_this_machine_are_refused_in_any_notation(
    listener: Listener, scheme: str, host: str
) -> None:
    async with posting(allow_private=False) as post:
        answer = await post(f"{scheme}://{host}:{listener.port}/", {}, b"{}")
    assert answer.status is None
    assert answer.error
    assert listener.is_silent()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "localhost", "[::ffff:127.0.0.1]"])
async def test_without_the_check_the_listener_is_reached(listener: Listener, host: str) -> None:
    """The twin of the test above: without the check each of these connects."""
    lost = asyncio.Event()
    network = PublicNetwork(allow_private=True)
    await network.connect(lambda: Closing(lost), host.strip("[]"), listener.port, None)
    await lost.wait()
    assert not listener.is_silent()


class Closing(asyncio.Protocol):
    """Closes its connection at once."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # the library defines this signature
        self._lost.set()


class Recorded(PublicNetwork):
    """Records the addresses of connections. They are refused, or never answered."""

    def __init__(self, resolve: Resolve, *, hangs: bool = False) -> None:
        super().__init__(allow_private=False, resolve=resolve)
        self.tried: list[tuple[str, int]] = []
        self._hangs = hangs

    async def connect_to(self, address: str, port: int, *_: object) -> NoReturn:
        self.tried.append((address, port))
        if self._hangs:
            await asyncio.Future()
        raise ConnectionRefusedError


class Names:
    """Answers each lookup with the next of these."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


async def tried(resolve: Resolve, host: str = "hooks.example", *, hangs: bool = False) -> list[tuple[str, int]]:
    recorded = Recorded(resolve, hangs=hangs)
    with pytest.raises(ConnectionError):
        await recorded.connect(asyncio.Protocol, host, 443, None)
    return recorded.tried


async def test_a_host_name_is_looked_up_once_for_each_connection() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    assert await tried(names) == [("93.184.216.34", 443)]
    assert names.asked == 1
    assert await tried(names) == []  # the next connection looks the name up again, and is refused


@pytest.mark.parametrize("addresses", [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["1.1.1.1", "fe80::1%2"]])
async def test_every_address_of_a_name_has_to_be_public(addresses: Sequence[str]) -> None:
    assert await tried(Names(addresses)) == []


async def test_the_first_addresses_are_tried_one_after_the_other() -> None:
    found = ["1.1.1.1", "2606:4700:4700::1111", "8.8.8.8", "8.8.4.4"]
    assert await tried(Names(found)) == [("1.1.1.1", 443), ("2606:4700:4700::1111", 443), ("8.8.8.8", 443)]
    assert await tried(Names([])) == []


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.TRIED * network.CONNECTED_WITHIN_S < TIMEOUT_S
    monkeypatch.setattr(network, "CONNECTED_WITHIN_S", 0.01)
    assert await tried(Names(["1.1.1.1", "8.8.8.8"]), hangs=True) == [("1.1.1.1", 443), ("8.8.8.8", 443)]


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_no_address_that_is_not_public_is_tried(host: str) -> None:
    assert await tried(look_up, host.strip("[]")) == []

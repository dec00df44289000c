"""Webhooks attack nobody: whatever a URL says, nothing connects to an address that is not public."""

import socket
from collections.abc import Sequence
from typing import Any, Final

import httpcore2
import pytest
from tests.api.delivery.conftest import Listener, posting

from api.delivery.network import PublicNetwork

OF_THIS_MACHINE: Final = [
    "127.0.0.1", "127.1", "127.0.1", "127.8.9.10", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "0x7f000001", "2130706433",
    "017700000001", "127.000.000.001", "127.0.0.1.", "0", "0.0.0.0", "00.0.0.0",
    "localhost", "LOCALHOST", "localhost.", "ip6-localhost", "LocalHost.LocalDomain", "[::1]", "[::]",
    "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]",
    "[::ffff:0.0.0.0]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%lo]", "[fe80::1%lo]",
    "127.0.0.1%00.example.org", "%31%32%37.0.0.1", "127.0.0.1%2f", "127。0。0。1", "①②⑦.0.0.1",
]  # fmt: skip
"""How this machine can be written."""

ELSEWHERE: Final = [
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.64.0.1",
    "[fd00:ec2::254]", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "[ff02::1]", "255.255.255.255",
]  # fmt: skip
"""Other addresses that are nobody's business."""


@pytest.mark.parametrize("host", [*OF_THIS_MACHINE, socket.gethostname()])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_connects_to_this_machine_in_any_notation(listener: Listener, scheme: str, host: str) -> None:
    async with posting(allow_private=False) as post:
        answer = await post(f"{scheme}://{host}:{listener.port}/", {}, b"{}")
    assert answer.status is None
    assert answer.error
    assert listener.is_silent()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_listener_would_hear_it(listener: Listener, host: str) -> None:
    """The twin of the test above: without the check each of these connects."""
    network = PublicNetwork(allow_private=True)
    stream = await network.connect_tcp(host.strip("[]"), listener.port, timeout=5)
    await stream.aclose()
    assert not listener.is_silent()


class Recorded(httpcore2.AsyncNetworkBackend):
    """Notes where it is to connect to, and does not."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        self.tried.append((host, port))
        raise httpcore2.ConnectError("not here")


class Names:
    """Answers each look-up with the next of these."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


async def tried(names: Names, host: str = "hooks.example") -> list[tuple[str, int]]:
    network = PublicNetwork(allow_private=False, resolve=names)
    network._network = recorded = Recorded()  # type: ignore[assignment]
    with pytest.raises(httpcore2.ConnectError):
        await network.connect_tcp(host, 443, timeout=5)
    return recorded.tried


async def test_a_name_that_means_another_address_the_second_time_is_looked_up_once() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    assert await tried(names) == [("93.184.216.34", 443)]
    assert names.asked == 1
    assert await tried(names) == []  # the next connection looks anew, and is refused


@pytest.mark.parametrize("addresses", [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["1.1.1.1", "fe80::1%2"]])
async def test_every_address_of_a_name_has_to_be_public(addresses: Sequence[str]) -> None:
    assert await tried(Names(addresses)) == []


async def test_the_first_addresses_are_tried_in_turn() -> None:
    found = ["1.1.1.1", "2606:4700:4700::1111", "8.8.8.8", "8.8.4.4"]
    assert await tried(Names(found)) == [("1.1.1.1", 443), ("2606:4700:4700::1111", 443), ("8.8.8.8", 443)]
    assert await tried(Names([])) == []


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_no_other_address_that_is_not_public_is_tried(host: str) -> None:
    network = PublicNetwork(allow_private=False)
    network._network = recorded = Recorded()  # type: ignore[assignment]
    with pytest.raises(httpcore2.ConnectError):
        await network.connect_tcp(host.strip("[]"), 80, timeout=5)
    assert recorded.tried == []

"""The client's address behind proxies: only headers of trusted proxies count."""

from ipaddress import ip_network

import pytest

from api.web.proxies import client_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY = "10.0.0.1"


def client(peer: str = PROXY, **headers: str) -> str:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return client_of(peer, sent, TRUSTED)


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),  # the client wrote the first one itself
        ("6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("192.0.2.1:4711, 10.0.0.2:80", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711, fd00::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.3, 10.0.0.2", PROXY),  # all of them are proxies
        ("6.6.6.6, unknown", PROXY),
        ("6.6.6.6, 300.1.1.1", PROXY),
        ("6.6.6.6, ", PROXY),
        ("", PROXY),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(chain: str, found: str) -> None:
    assert client(x_forwarded_for=chain) == found


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("for=6.6.6.6, For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
        ('proto=https;for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=6.6.6.6, for=_hidden", PROXY),
        ("for=6.6.6.6, proto=https", PROXY),
        ("host=example.org", PROXY),
    ],
)
def test_the_header_of_rfc_7239_is_read_as_well(chain: str, found: str) -> None:
    assert client(forwarded=chain) == found


def test_an_untrusted_peer_is_the_client_itself() -> None:
    assert client("192.0.2.9", x_forwarded_for="6.6.6.6") == "192.0.2.9"
    assert client("testclient", x_forwarded_for="6.6.6.6") == "testclient"


def test_contradicting_headers_of_a_proxy_are_not_trusted() -> None:
    assert client(x_forwarded_for="192.0.2.1", forwarded="for=6.6.6.6") == PROXY
    assert client(x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.1") == "192.0.2.1"


def test_several_lines_of_a_header_are_one_list() -> None:
    sent = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"192.0.2.1")]
    assert client_of(PROXY, sent, TRUSTED) == "192.0.2.1"

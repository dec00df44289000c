"""The client behind proxies: from `Forwarded` (RFC 7239) and `X-Forwarded-For`, if trusted proxies set them."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Headers = Sequence[tuple[bytes, bytes]]

FOR: Final = re.compile(r'(?:^|;)\s*for="?(?P<node>[^;"]*)"?', re.IGNORECASE)
NODE: Final = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](:[0-9]+)?|(?P<v4>[0-9.]+)(:[0-9]+)?|(?P<bare>[0-9A-Fa-f:.]+)")


def client_of(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The address of the client, for the log and for the limit of wrong keys; the peer's, unless that is trusted.

    Of the addresses that the proxies noted, it is the last one that is not itself a trusted proxy: what stands before
    it came from the client. A client can send the header that its proxy does not set, so if both are there they have to
    agree.
    """
    address = address_in(peer)
    if address is None or not is_trusted(address, trusted):
        return peer
    found = {last_untrusted(hops, trusted) for hops in (hops_of(headers)) if hops}
    return str(found.pop() or peer) if len(found) == 1 else peer


def hops_of(headers: Headers) -> Iterator[list[str]]:
    """The nodes that each of the two headers names, from the client on."""
    yield [part.strip() for part in items(headers, b"x-forwarded-for")]
    yield [match["node"].strip() if (match := FOR.search(part)) else "" for part in items(headers, b"forwarded")]


def items(headers: Headers, wanted: bytes) -> Iterator[str]:
    for name, value in headers:
        if name == wanted:
            yield from value.decode("latin-1").split(",")


def last_untrusted(hops: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """None if a proxy hides it, or if all are proxies."""
    for hop in reversed(hops):
        address = address_in(hop)
        if address is None or not is_trusted(address, trusted):
            return address
    return None


def address_in(node: str) -> Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80` or `2001:db8::1`; None if there is none."""
    match = NODE.fullmatch(node.partition("%")[0])
    try:
        address = ip_address(match["v6"] or match["v4"] or match["bare"]) if match else None
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)

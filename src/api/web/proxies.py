"""The address of a client behind proxies, from `Forwarded` (RFC 7239) and `X-Forwarded-For` of trusted proxies."""

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
    """The address of the client, for the log and for the limit of wrong keys. If the peer is not trusted, it is the
    peer.

    Otherwise it is the last address in the header that is not a trusted proxy. All addresses before it come from the
    client and may be false. A client can also send the one header that its proxy does not set. So if both headers are
    there, they have to agree.
    """
    address = address_in(peer)
    if address is None or not is_trusted(address, trusted):
        return peer
    found = {last_untrusted(hops, trusted) for hops in (hops_of(headers)) if hops}
    return str(found.pop() or peer) if len(found) == 1 else peer


def hops_of(headers: Headers) -> Iterator[list[str]]:
    """The nodes in each of the two headers, from the client to the last proxy."""
    yield [part.strip() for part in items(headers, b"x-forwarded-for")]
    yield [match["node"].strip() if (match := FOR.search(part)) else "" for part in items(headers, b"forwarded")]


def items(headers: Headers, wanted: bytes) -> Iterator[str]:
    for name, value in headers:
        if name == wanted:
            yield from value.decode("latin-1").split(",")


def last_untrusted(hops: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The last address that is not a trusted proxy. None if a proxy hides it, or if all are proxies."""
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

"""Network addresses that a webhook may be sent to: those of the public Internet, and no others."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

NAT64: Final = IPv6Network("64:ff9b::/96")
"""The prefix of IPv4 addresses in a network that has only IPv6 (RFC 6052, section 2.1). The last 32 bits are the IPv4
address."""

UNICAST: Final = IPv6Network("2000::/3")
"""All global unicast addresses that IANA has allocated."""

SPECIAL: Final = (
    IPv4Network("192.0.0.0/24"),  # IETF protocols; a cloud has its metadata there
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # IETF protocols, Teredo
    IPv6Network("3fff::/20"),  # documentation
)
"""Networks of IANA's special-purpose registries that older versions of Python do not know."""


def is_public(text: str) -> bool:
    """Whether this is the address of one host on the public Internet.

    Not public are: loopback, private and shared networks, link-local addresses (where clouds have their metadata),
    multicast, and all other networks that IANA reserves for special purposes. If an IPv6 address contains an IPv4
    address, the IPv4 address decides. A text that is not an address is not public.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    contained = contained_in(address)
    return is_global(address if contained is None else contained)


def is_global(address: IPv4Address | IPv6Address) -> bool:
    known = address.is_global and not address.is_multicast and not address.is_reserved
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return False
    return known and not any(address in network for network in SPECIAL)


def contained_in(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which packets for this IPv6 address are forwarded, if any."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour

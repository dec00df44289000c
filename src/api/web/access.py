"""Authentication and authorisation: from the Authorization header to a key and its scopes."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Final

import structlog
from fastapi import Request

from api.settings import is_loopback
from domain.keys import Key, Scope, TooManyFailures, Unauthenticated, id_in, require_scopes

MAX_FAILURES: Final = 20
"""How many wrong keys an address may send within `WINDOW_S`. Valid keys from the same address still work."""

WINDOW_S: Final = 60
MAX_ADDRESSES: Final = 10_000

FORWARDED: Final = ("forwarded", "x-forwarded-", "x-real-ip", "x-client-ip", "x-original-", "x-rewrite-", "via")
"""Headers with these prefixes come from a proxy, whose client may be anywhere."""

HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{0,5})?", re.ASCII | re.IGNORECASE)

SECURITY_SCHEME: Final = "key"
"""The name of the security scheme in the OpenAPI document."""

log = structlog.get_logger("roster")

NO_KEY: Final = "The key is missing or not valid."


class Failures:
    """Counts the wrong keys from each address, in windows of time."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def note(self, address: str) -> None:
        """Count a wrong key. Raises `TooManyFailures` above the bound."""
        now = self._clock()
        count, since = self._counts.pop(address, (0, now))
        if now >= since + WINDOW_S:
            count, since = 0, now
        self._counts[address] = (count + 1, since)
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        if count >= MAX_FAILURES:
            raise TooManyFailures("Too many wrong keys came from this address. Try again later.")


Holds = Callable[[Collection[Scope]], Collection[Scope]]
"""The scopes that a key has in one protocol, from the scopes that were granted."""


def as_granted(held: Collection[Scope]) -> Collection[Scope]:
    return held


async def authorize(request: Request, scopes: Sequence[Scope], holds: Holds = as_granted) -> None:
    """Authenticate the caller and check the scopes, before the body is read. Raises `Unauthenticated` and `Forbidden`.

    Services check the same scopes again: their context has `request.state.scopes`.
    """
    key = request.state.key = await authenticate(request)
    request.state.scopes = None if key is None else holds(key.scopes)
    require_scopes(scopes, request.state.scopes)


async def authenticate(request: Request) -> Key | None:
    """The key of the request; None if it has no key and needs none. Raises `Unauthenticated`."""
    authenticator = request.app.state.container.authenticator()
    authorization = request.headers.get("authorization")
    if authorization is None:
        if await authenticator.needs_key() or not is_local(request):
            raise Unauthenticated(NO_KEY)
        return None
    try:
        key: Key = await authenticator.authenticate(secret_in(authorization))
    except Unauthenticated:
        log.warning("wrong key", key=id_in(secret_in(authorization)), client=network_of(request))
        request.app.state.failures.note(network_of(request))
        raise
    request.state.actor = actor_of(key)
    return key


def actor_of(key: Key | None) -> str:
    return "anonymous" if key is None else f"key:{key.id}"


def secret_in(authorization: str) -> str:
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def is_local(request: Request) -> bool:
    """Whether a request without a key comes from this machine, and not from a web page of another site.

    `open_locally` is set only if the server listens on loopback. A wrong Host header shows DNS rebinding. Origin and
    Sec-Fetch-Site show a page of another site. Forwarding headers show a proxy.
    """
    if not request.app.state.open_locally or any(name.startswith(FORWARDED) for name in request.headers):
        return False
    hosts = request.headers.getlist("host")
    return len(hosts) == 1 and is_own(hosts[0]) and is_from_own_page(request, hosts[0])


def own_address(request: Request) -> str:
    """The URL by which a program on this machine called the server, such as http://localhost:8000.

    Empty for all other requests, because their Host header cannot be trusted.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not is_own(hosts[0]) or any(name.startswith(FORWARDED) for name in request.headers):
        return ""
    return f"{request.url.scheme}://{hosts[0].lower()}"


def is_own(host: str) -> bool:
    """Whether a Host header names this machine."""
    match = HOST.fullmatch(host)
    return match is not None and is_loopback(match[1])


def is_from_own_page(request: Request, host: str) -> bool:
    """Whether the request does not come from a web page, or comes from a page of this server."""
    origins = {origin.lower() for origin in request.headers.getlist("origin")}
    sites = set(request.headers.getlist("sec-fetch-site"))
    return origins <= {f"http://{host.lower()}", f"https://{host.lower()}"} and sites <= {"same-origin", "none"}


def network_of(request: Request) -> str:
    """The address of the client. For IPv6 it is the network, because a client can use all its addresses."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))

"""The outermost layer of the app: a request id and a log line for each request, and a 500 for an unexpected
exception."""

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.monitoring.metrics import NONE, Metrics
from api.web.problems import CODES, problem
from api.web.proxies import Network, client_of

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

GUARDS: Final = (
    (b"cache-control", b"private, no-cache"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

LAST: Final = ((b"connection", b"close"),)
"""Sent while the server drains, so that clients open a new connection, to a server that stays. If the server just
closed the connection, it could do so while a client sends a request."""

PROBES: Final = frozenset({"live", "ready", "metrics"})
"""Requests that load balancers and monitoring send all the time. Successful ones are logged only at the level debug."""

log = structlog.get_logger("roster.access")


class RequestMiddleware:
    """Middleware in plain ASGI. It answers HEAD like GET, without the body (RFC 9110, section 9.3.2)."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, hosts: Iterable[str] = (), proxies: Sequence[Network] = ()
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.proxies = proxies
        self.hosts = frozenset(name_in(host.encode()) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.proxies and (peer := scope.get("client")):
            scope = {**scope, "client": (client_of(peer[0], scope["headers"], self.proxies), 0)}
        app = self.app if not self.hosts or host_of(scope) in self.hosts else another_host
        await Exchange(app, self.metrics, scope, send).run(receive)


def host_of(scope: Scope) -> bytes:
    return name_in(next((value for name, value in scope["headers"] if name == b"host"), b""))


def name_in(host: bytes) -> bytes:
    """The name in a Host header, without the port."""
    return re.sub(rb":[0-9]*\Z", b"", host.lower())


async def another_host(scope: Scope, receive: Receive, send: Send) -> None:
    await error_for(Request(scope), 421, "another_host", "This server does not answer to that Host name.")(
        scope, receive, send
    )


def error_for(request: Request, status: int, code: str, detail: str) -> Response:
    """A problem document, or under the mount of another protocol, an error of that protocol."""
    for mount, error in request.app.state.errors_under.items():
        if f"{request.scope['path']}/".startswith(f"{mount}/"):
            answer: Response = error(status, detail)
            return answer
    return problem(request, status, code, detail)


class Exchange:
    """One request and its answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics, scope: Scope, send: Send) -> None:
        self.app = app
        self.metrics = metrics
        self.send_on = send
        self.method = scope["method"]
        self.request_id = request_id_of(scope)
        self.status = 0
        self.scope = {**scope, "method": "GET"} if self.method == "HEAD" else scope
        self.scope.setdefault("state", {}).update(request_id=self.request_id, method=self.method)

    async def run(self, receive: Receive) -> None:
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        self.metrics.began()
        started = time.perf_counter()
        try:
            await self.app(self.scope, receive, self.send)
        except Exception:
            log.exception("failed")
            if self.status:  # too late for a 500, so the server closes the connection
                raise
            await self._answer_500(receive)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.ended(getattr(self.scope.get("route"), "name", NONE), self.status, seconds)
            self._log(seconds)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = (b"x-request-id", self.request_id.encode())
            last = LAST if self.scope["app"].state.draining else ()
            message["headers"] = [*message["headers"], own, *last, *guards_beside(message["headers"])]
        elif self.method == "HEAD":
            message = {**message, "body": b""}
        await self.send_on(message)

    async def _answer_500(self, receive: Receive) -> None:
        detail = "Something went wrong. The server's log has it under the request id."
        await error_for(Request(self.scope), 500, CODES[500], detail)(self.scope, receive, self.send)

    def _log(self, seconds: float) -> None:
        """Log the request. The line has the operation and not the path, because a path may contain an e-mail
        address."""
        route = self.scope.get("route")
        client = self.scope.get("client")
        say = log.debug if self.status == 200 and getattr(route, "name", None) in PROBES else log.info  # noqa: PLR2004
        say(
            "request",
            method=self.method,
            operation=getattr(route, "name", None),
            status=self.status,
            ms=round(seconds * 1000, 1),
            actor=self.scope["state"].get("actor", "anonymous"),
            client=client[0] if client else None,
        )


def guards_beside(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The security headers that the answer does not have yet. The page at /docs sets some itself."""
    given = {name for name, _ in headers}
    return (guard for guard in GUARDS if guard[0] not in given)


def request_id_of(scope: Scope) -> str:
    """The id that the client sent, if its form is valid; otherwise a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)

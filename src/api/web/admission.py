"""Admission: however many requests arrive, only a few begin in each iteration of the event loop.

Without this, hundreds of requests that arrive together make an iteration of the event loop take a large part of a
second. A transaction needs several iterations, and all other writers wait for it. Health checks wait as well.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.monitoring.metrics import Metrics
from api.web.middleware import error_for
from domain.errors import Busy

TOGETHER: Final = 4
"""How many requests begin in one iteration. With fewer, fewer reads share a trip to SQLite's thread."""

PATIENCE_S: Final = 0.5
"""How long a request waits to begin. Then it may wait for a connection, so that every answer comes within 3 seconds."""

PROBES: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""The paths that begin at once. An operator needs them most when the server has too much to do."""

TOO_MANY: Final = "More requests arrive than this server can answer. Try again shortly."


class Admission:
    """Middleware in plain ASGI. Requests begin in the order in which they arrive, or are refused."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self._begun = 0
        self._waiting: deque[Waiting] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES and not await self._admits():
            refusal = error_for(Request(scope), 503, Busy.code, TOO_MANY)
            refusal.headers["Retry-After"] = "1"
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _admits(self) -> bool:
        loop = asyncio.get_running_loop()
        if self._begun == 0:
            loop.call_soon(self._begin_more, loop)
        if self._begun < TOGETHER:
            self._begun += 1
            return True
        result: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(Waiting(loop.time(), result))
        self.metrics.queued(1)
        try:
            return await result
        finally:
            self.metrics.queued(-1)

    def _begin_more(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs once in each iteration, as long as requests begin."""
        self._begun = 0
        oldest = loop.time() - PATIENCE_S
        while self._waiting and self._begun < TOGETHER:
            since, result = self._waiting.popleft()
            if not result.done():  # its task was not cancelled
                is_admitted = since >= oldest
                result.set_result(is_admitted)
                self._begun += is_admitted
        if self._begun:
            loop.call_soon(self._begin_more, loop)


class Waiting(NamedTuple):
    since: float
    result: asyncio.Future[bool]

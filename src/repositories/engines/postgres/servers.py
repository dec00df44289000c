"""Connecting to PostgreSQL, and the settings of a connection."""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

import asyncpg
import sqlalchemy as sa

from domain.limits import Limits
from repositories.engines.meter import Meter, Pool
from repositories.engines.postgres.pools import Connections, leave_as_is, prepare_connection
from repositories.engines.urls import hosts_of

CONNECT_TIMEOUT_S: Final = 5
DEFAULT_PORT: Final = 5432

SESSION: Final[Mapping[str, str]] = {
    "application_name": "roster",
    "timezone": "UTC",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",  # compiling costs more than these short statements
}
READ_ONLY: Final[Mapping[str, str]] = {**SESSION, "default_transaction_read_only": "on"}

GIVEN_UP_AFTER_S: Final = 1
"""Seconds after the server's own time-out at which the client ends a statement, because the server may be frozen."""


READ_WRITE: Final = "read-write"
PRIMARY: Final = "primary"


class Server:
    """Opens connections to the server, or to one of several hosts.

    The driver parses the URL itself, with the parameters of libpq such as sslmode. A URL may name several hosts, of
    which one accepts writes. All are tried at the same time. The driver would try one after the other, and wait for
    dead ones.
    """

    def __init__(self, url: sa.URL, *, pool_timeout_s: float, limits: Limits) -> None:
        hosts = hosts_of(url)
        self.place = ", ".join(map(place_of, hosts))
        self.limits = limits
        self._pool_timeout_s = pool_timeout_s
        self._dsns = [each.set(drivername="postgresql").render_as_string(hide_password=False) for each in hosts]
        wanted = url.query.get("target_session_attrs", READ_WRITE if len(hosts) > 1 else None)
        self._wanted = wanted if wanted is None or isinstance(wanted, str) else wanted[-1]

    async def connect(
        self, session: Mapping[str, str] = SESSION, **options: Any
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection to the host that answers first and is of the kind that the URL asks for."""
        # For the driver, a session that only reads is never "read-write".
        wanted = PRIMARY if self._wanted == READ_WRITE and session is READ_ONLY else self._wanted
        options = {"timeout": CONNECT_TIMEOUT_S, **options, "target_session_attrs": wanted}
        attempts = [
            asyncio.ensure_future(asyncpg.connect(dsn, server_settings=self._session(session), **options))
            for dsn in self._dsns
        ]
        chosen = None
        try:
            chosen = await first_of(attempts)
        finally:
            for attempt in attempts:
                attempt.add_done_callback(partial(end_unless, chosen))
                attempt.cancel()
        return chosen

    async def pool(
        self, name: Pool, session: Mapping[str, str], meter: Meter, *, min_size: int, max_size: int
    ) -> Connections:
        async def connect(*_: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
            return await self.connect(session, **options)

        pool = asyncpg.create_pool(
            connect=connect,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self.limits.statement_s + GIVEN_UP_AFTER_S,
            init=prepare_connection,
            reset=leave_as_is,
        )
        return Connections(await pool, self._pool_timeout_s, self.limits, meter, name)

    def _session(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {**settings, "statement_timeout": f"{round(self.limits.statement_s * 1000)}ms"}


Attempt = asyncio.Future["asyncpg.Connection[asyncpg.Record]"]


async def first_of(attempts: Collection[Attempt]) -> "asyncpg.Connection[asyncpg.Record]":
    """The first connection that succeeds. Raises the last error if none does."""
    pending = set(attempts)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        made = [attempt for attempt in done if attempt.exception() is None]
        if made or not pending:
            return (made or list(done))[0].result()


def end_unless(chosen: "asyncpg.Connection[asyncpg.Record] | None", attempt: Attempt) -> None:
    if not attempt.cancelled() and attempt.exception() is None and (made := attempt.result()) is not chosen:
        made.terminate()


def place_of(url: sa.URL) -> str:
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    return f"{host}:{url.port or DEFAULT_PORT}" if host else "a local socket"

"""One PostgreSQL server: how it is reached, and with which settings of a connection."""

from collections.abc import Mapping
from typing import Final

import asyncpg
import sqlalchemy as sa

from domain.limits import Limits
from repositories.engines.meter import Meter, Pool
from repositories.engines.postgres.pools import Connections, leave_as_is, prepare_connection

CONNECT_TIMEOUT_S: Final = 5
DEFAULT_PORT: Final = 5432

SESSION: Final[Mapping[str, str]] = {
    "application_name": "roster",
    "timezone": "UTC",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",  # its compiling costs more than these short statements
}
READ_ONLY: Final[Mapping[str, str]] = {**SESSION, "default_transaction_read_only": "on"}

GIVEN_UP_AFTER_S: Final = 1
"""How much later than the server this side ends a statement: the server may be frozen."""


class Server:
    """The driver reads the URL itself, in libpq's terms: sslmode, host of a socket and the like."""

    def __init__(self, url: sa.URL, *, pool_timeout_s: float, limits: Limits) -> None:
        self.place = place_of(url)
        self.limits = limits
        self._pool_timeout_s = pool_timeout_s
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=self._session(SESSION))

    async def pool(
        self, name: Pool, session: Mapping[str, str], meter: Meter, *, min_size: int, max_size: int
    ) -> Connections:
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self.limits.statement_s + GIVEN_UP_AFTER_S,
            server_settings=self._session(session),
            init=prepare_connection,
            reset=leave_as_is,
        )
        return Connections(await pool, self._pool_timeout_s, self.limits, meter, name)

    def _session(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {**settings, "statement_timeout": f"{round(self.limits.statement_s * 1000)}ms"}


def place_of(url: sa.URL) -> str:
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    return f"{host}:{url.port or DEFAULT_PORT}" if host else "a local socket"

"""What `roster doctor` examines in PostgreSQL. It writes nothing."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from domain.findings import Finding, Level, finding

ASKED: Final = sa.text(
    "SELECT name, setting FROM pg_settings WHERE name = ANY"
    " (ARRAY['fsync', 'full_page_writes', 'synchronous_commit', 'max_connections', 'server_version', 'archive_mode'])"
)
CLOCK: Final = sa.text("SELECT clock_timestamp()")
IN_USE: Final = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
RECOVERING: Final = sa.text("SELECT pg_is_in_recovery()")
CLOCK_APART_S: Final = 5


def examine(connection: sa.Connection, pool_size: int) -> Iterator[Finding]:
    """Examine the server. `pool_size` is that of one server process, which opens up to twice as many connections, and a
    few for streams."""
    settings: Mapping[str, str] = {row.name: row.setting for row in connection.execute(ASKED)}
    yield Finding("server", Level.OK, f"PostgreSQL {settings['server_version']}")
    yield finding(
        "role",
        "takes writes" if not connection.scalar(RECOVERING) else "a standby, which accepts no writes",
        ok=not connection.scalar(RECOVERING),
        fix="name the primary in ROSTER_DATABASE_URL",
    )
    for name in ("fsync", "full_page_writes"):
        yield finding(name, settings[name], ok=settings[name] == "on", fix=f"ALTER SYSTEM SET {name} = on; and reload")
    archiving = f"what pg_dump made is not seen here; archiving of the log is {settings['archive_mode']}"
    yield Finding("backup", Level.OK, archiving)
    yield finding(
        "synchronous_commit",
        settings["synchronous_commit"],
        ok=settings["synchronous_commit"] != "off",
        fix="ALTER SYSTEM SET synchronous_commit = on; otherwise a power cut loses acknowledged writes",
        worst=Level.WARN,
    )
    most, used, needed = int(settings["max_connections"]), connection.scalar(IN_USE) or 0, 2 * pool_size + 4
    yield finding(
        "connections",
        f"{most} allowed, {used} in use, up to {needed} for each server process",
        ok=needed <= most - 3,
        fix="lower ROSTER_POOL_SIZE, or raise max_connections",
    )
    apart_s = abs((datetime.now(UTC) - connection.execute(CLOCK).scalar_one()).total_seconds())
    yield finding(
        "clock", f"{apart_s:.1f} s apart from this machine's", ok=apart_s <= CLOCK_APART_S, fix="run an NTP client",
        worst=Level.WARN,
    )  # fmt: skip

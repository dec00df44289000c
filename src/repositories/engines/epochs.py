"""Epochs in SQL: the number from which ids and changes continue after a restore."""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from domain.epochs import start_of_epoch
from repositories.engines.schema import Instant, metadata

expired_positions: Final = sa.Table(
    "expired_positions",
    metadata,
    sa.Column("last", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
)
"""Positions from which the feed cannot be followed: from `first` to `last`, inclusive. `at` is when they expired."""

HIGHEST: Final = {
    "sqlite": "SELECT max(seq) FROM sqlite_sequence",
    "postgresql": "SELECT max(last_value) FROM pg_sequences WHERE schemaname = current_schema()",
}
COUNT_ON: Final = {
    "sqlite": """
        INSERT INTO sqlite_sequence (name, seq)
        SELECT name, :start FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'
    """,
    "postgresql": """
        SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, :start)
        FROM pg_sequences WHERE schemaname = current_schema()
    """,
}
LAST_CHANGE: Final = "SELECT coalesce(max(seq), 0) FROM changes"


def begin_epoch(connection: sa.Connection, now: datetime, beyond: int) -> int:
    """See `domain.work.UnitsOfWork.begin_epoch`. During this transaction no other one can number changes."""
    engine = connection.dialect.name
    last = connection.scalar(sa.text(LAST_CHANGE)) or 0
    start = start_of_epoch(max(beyond, highest_number(connection)), now)
    if engine == "sqlite":
        connection.execute(sa.text("DELETE FROM sqlite_sequence"))
    connection.execute(sa.text(COUNT_ON[engine]), {"start": start})
    connection.execute(sa.insert(expired_positions).values(first=last + 1, last=start, at=now))
    return start


def highest_number(connection: sa.Connection) -> int:
    """The highest id or number of a change that was used."""
    return connection.scalar(sa.text(HIGHEST[connection.dialect.name])) or 0

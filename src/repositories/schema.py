"""What the tables share: one metadata with names for every constraint, and the column types of both databases."""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Iso(sa.TypeDecorator[datetime]):
    """A time as text for SQLite, which has no type of its own for it: ISO 8601, UTC, to the microsecond.

    Of one width, so that text order is time order.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else datetime.fromisoformat(value)


BigId: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both: SQLite's INTEGER has them, and only that word makes a column its row id."""

Instant: Final = sa.DateTime(timezone=True).with_variant(Iso(), "sqlite")

Key: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that is compared by code point on both databases, as Python does."""

Json: Final = sa.JSON(none_as_null=True)
"""JSON as text on both: what was put in comes out, numbers and the order of members included."""

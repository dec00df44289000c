"""What the tables share: one metadata with names for every constraint, and the column types of both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

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


JOURNALLED: Final = "journalled"
"""In the `info` of a table whose every write has a change row: how to write to it, for those who try another way."""


class Iso(sa.types.UserDefinedType[datetime]):
    """A time as text for SQLite, which has no type of its own for it: ISO 8601, UTC, to the microsecond.

    Of one width, so that text order is time order.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002
        return lambda time: None if time is None else time.astimezone(UTC).isoformat(timespec="microseconds")

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[str | None], datetime | None]:  # noqa: ARG002
        return lambda text: None if text is None else datetime.fromisoformat(text)


BigId: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both: SQLite's INTEGER has them, and only that word makes a column its row id."""

Instant: Final = sa.DateTime(timezone=True).with_variant(Iso(), "sqlite")

Key: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that is compared by code point on both databases, as Python does."""


class Choice(sa.types.TypeDecorator[StrEnum]):
    """A value of an enumeration as text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, values: type[StrEnum]) -> None:
        super().__init__()
        self.values = values
        self._by_text = {value.value: value for value in values}

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(Key)

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:  # noqa: ARG002
        return lambda value: None if value is None else str(value)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002
        return self._by_text.get


Json: Final = sa.JSON(none_as_null=True)
"""JSON as text on both: what was stored comes back as it was, with its numbers and the order of its members."""


def entity_columns() -> list[sa.Column[Any]]:
    """What the table of every kind of entity has."""
    return [
        sa.Column("id", BigId, sa.Identity(), primary_key=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    ]


DECODER: Final = json.JSONDecoder()


def read_json(text: str) -> Any:
    """What was stored as JSON. At a third of what `json.loads` takes, which looks for white space around it."""
    try:
        return {} if text == "{}" else DECODER.raw_decode(text)[0]
    except TypeError:
        return text  # SQLite keeps a number by itself as one

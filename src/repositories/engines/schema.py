"""What all tables share: the metadata, with a naming convention for constraints, and column types for both
databases."""

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
"""A key in the `info` of tables whose writes all have change rows. Its value says how to write to the table, for the
error of a bulk statement."""


class Iso(sa.types.UserDefinedType[datetime]):
    """A time as text for SQLite, which has no type for times: ISO 8601, in UTC, with microseconds.

    All texts have the same length, so that the order of texts is the order of times.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002
        return lambda time: None if time is None else time.astimezone(UTC).isoformat(timespec="microseconds")

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[str | None], datetime | None]:  # noqa: ARG002
        return lambda text: None if text is None else datetime.fromisoformat(text)


BigId: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both databases. On SQLite the type has to be INTEGER, because only this word makes a column the row id."""

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
"""JSON as text on both databases. The form of numbers and the order of members are kept."""


def entity_columns() -> list[sa.Column[Any]]:
    """The columns that the tables of all entities have."""
    return [
        sa.Column("id", BigId, sa.Identity(), primary_key=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    ]


DECODER: Final = json.JSONDecoder()


def read_json(text: str) -> Any:
    """Decode stored JSON. It takes a third of the time of `json.loads`, which also looks for white space around the
    value."""
    try:
        return {} if text == "{}" else DECODER.raw_decode(text)[0]
    except TypeError:
        return text  # SQLite returns a single number as a number

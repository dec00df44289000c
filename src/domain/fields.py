"""The fields of an entity as filters and sorts see them. Each entity declares its own once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from domain.values import fold

Key: TypeAlias = str | int | datetime
"""What a field's value is compared by. Text compares by code point, times as instants in UTC."""


class Kind(StrEnum):
    FOLDED = "folded"
    """Text that is compared by its folded form (see `fold`)."""

    EXACT = "exact"
    INTEGER = "integer"
    INSTANT = "instant"
    JSON = "json"
    """An object of the client's own, whose members are named by a path."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `optional`: its value may be None. `sorts`: lists can be sorted by it."""

    name: str
    kind: Kind
    optional: bool = False
    sorts: bool = True

    def key_in(self, entity: object) -> Key | None:
        """What the entity is compared by. Not for JSON, whose members have keys of their own."""
        value: Any = getattr(entity, self.name)
        if value is None:
            return None
        return fold(value) if self.kind is Kind.FOLDED else value


Fields: TypeAlias = Mapping[str, Field]
"""The fields under the names, in lower case, that clients know them by."""


def declare(*fields: Field) -> Fields:
    return {field.name: field for field in fields}


ID = Field("id", Kind.INTEGER)

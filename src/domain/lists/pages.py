"""Pages of a list: how it is sorted, and keyset paging, so that a page costs the same at any depth.

Nulls sort as the highest value: last in ascending, first in descending order. Text sorts by code point, in its folded
form if it compares by that. Ids break ties, in the direction of the last field that was named.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeAlias, TypeVar

from domain.errors import Malformed
from domain.lists.fields import ID, Field, Fields, Key, Kind
from domain.values import MAX_INTEGER, flaw_in, instant

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LIMIT: Final = 1000
"""The most items that one page holds."""

DEFAULT_LIMIT: Final = 100

MAX_SORTS: Final = 4
"""The most fields that a client may sort by."""

Position: TypeAlias = tuple[str | int | None, ...]
"""Where a page ends: the keys of its last item as JSON values, in the order of the sort, with the id as the last."""

Keys: TypeAlias = tuple[Key | None, ...]
"""The same as the stores compare them."""


@dataclass(frozen=True, slots=True)
class Order:
    field: Field
    descending: bool = False

    def key_at(self, value: object) -> Key | None:
        """A position's value as a key. Raises `Malformed` if no item of this list has such a key."""
        match self.field.kind, value:
            case _, None if self.field.optional:
                return None
            case Kind.FOLDED | Kind.EXACT, str() if not flaw_in(value):
                return value
            case Kind.INTEGER, int() if not isinstance(value, bool) and abs(value) <= MAX_INTEGER:
                return value
            case Kind.INSTANT, str() if time := instant(value):
                return time
        raise Malformed("This position is not one in this list.")


@dataclass(frozen=True, slots=True)
class Sort:
    """The fields to sort by, the most significant first. The last is the id, so no two items are equal."""

    orders: tuple[Order, ...]

    def keys_of(self, entity: object) -> Keys:
        return tuple(order.field.key_in(entity) for order in self.orders)

    def position(self, entity: object) -> Position:
        """Where a page with this last item ends: the parameter `after` of `list` for the next page."""
        return tuple(plain(key) for key in self.keys_of(entity))

    def keys_at(self, position: object) -> Keys:
        """The keys of a position, which may come from a client. Raises `Malformed` if it is not one of this sort."""
        if not isinstance(position, list | tuple) or len(position) != len(self.orders):
            raise Malformed("This position is not one in this list.")
        return tuple(order.key_at(value) for order, value in zip(self.orders, position, strict=True))

    def compare(self, left: Keys, right: Keys) -> int:
        """Below 0 if the item with the left keys comes first, above 0 if the other one does."""
        for order, one, other in zip(self.orders, left, right, strict=True):
            if one != other:
                return 1 if is_higher(one, other) is not order.descending else -1
        return 0


def plain(key: Key | None) -> str | int | None:
    if isinstance(key, datetime):
        return key.isoformat()
    return str(key) if isinstance(key, str) else key  # an enumeration's value is not yet plain


def is_higher(one: Key | None, other: Key | None) -> bool:
    return one is None or (other is not None and one > other)  # type: ignore[operator]  # both are of one field


BY_ID: Final = Sort((Order(ID),))

SORT: Final = re.compile(r" *(?P<sign>-?)(?P<name>[A-Za-z_.]+) *")


def parse_sort(text: str, fields: Fields) -> Sort:
    """The sort of a text such as `name,-created_at`. Raises `Malformed` with the position.

    It names at most `MAX_SORTS` fields, in any case of letters. Each is different, and each sorts.
    """
    orders: list[Order] = []
    at = 0
    for part in text.split(",", MAX_SORTS):
        orders.append(order_of(part, at, fields, orders))
        at += len(part) + 1
    return sort_by(orders)


def order_of(part: str, at: int, fields: Fields, before: Sequence[Order]) -> Order:
    if len(before) == MAX_SORTS:
        raise Malformed(f"A list sorts by at most {MAX_SORTS} fields.", at)
    if not (named := SORT.fullmatch(part)):
        raise Malformed("Expected: the name of a field, with a minus before it to sort downwards.", at)
    field = fields.get(named["name"].lower())
    if field is None or not field.sorts:
        known = ", ".join(each.name for each in fields.values() if each.sorts)
        raise Malformed(f"There is no such field to sort by. Fields are {known}.", at + named.start("name"))
    if field in [order.field for order in before]:
        raise Malformed("This field is named twice.", at + named.start("name"))
    return Order(field, descending=bool(named["sign"]))


def sort_by(orders: Sequence[Order]) -> Sort:
    """By these fields, then by id. Fields after the id have no effect."""
    fields = [order.field for order in orders]
    if ID in fields:
        return Sort(tuple(orders[: fields.index(ID) + 1]))
    return Sort((*orders, Order(ID, descending=orders[-1].descending)))


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Consecutive items of a list, and whether more follow.

    `seq` says which state it shows: all changes up to that number, and perhaps later ones.
    """

    items: Sequence[T_co]
    more: bool
    seq: int | None = None

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @staticmethod
    def of(items: Sequence[T], limit: int, seq: int | None = None) -> "Page[T]":
        """A page of `limit` items out of up to one more than that, which shows whether more follow."""
        return Page(items[:limit], more=len(items) > limit, seq=seq)

"""Pages of a list: its sort order, and keyset paging, so that a page costs the same at any depth.

Null is the highest value: it comes last in ascending and first in descending order. Text is sorted by code point, in
its folded form if it compares by that. Items that are equal are sorted by id, in the direction of the last field of the
sort.
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
"""The end of a page: the sort keys of its last item as JSON values, in the order of the sort. The last one is the
id."""

Keys: TypeAlias = tuple[Key | None, ...]
"""The same in the form in which stores compare them."""


@dataclass(frozen=True, slots=True)
class Order:
    field: Field
    descending: bool = False

    def key_at(self, value: object) -> Key | None:
        """A value of a position as a key. Raises `Malformed` if no item of this list can have such a key."""
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
    """The fields to sort by, the most significant one first. The last one is the id, so no two items are equal."""

    orders: tuple[Order, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields of this sort."""
        return frozenset([order.field.name for order in self.orders])

    def keys_of(self, entity: object) -> Keys:
        return tuple(order.field.key_in(entity) for order in self.orders)

    def position(self, entity: object) -> Position:
        """The position after this item. Pass it to `list` as `after` to get the items that follow."""
        return tuple(plain(key) for key in self.keys_of(entity))

    def keys_at(self, position: object) -> Keys:
        """The keys of a position, which may come from a client. Raises `Malformed` if it does not fit this sort."""
        if not isinstance(position, list | tuple) or len(position) != len(self.orders):
            raise Malformed("This position is not one in this list.")
        return tuple(order.key_at(value) for order, value in zip(self.orders, position, strict=True))

    def compare(self, left: Keys, right: Keys) -> int:
        """Below 0 if the item with the left keys comes first, above 0 if the item with the right keys does."""
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

    It names at most `MAX_SORTS` different fields, in upper or lower case. Lists have to be sortable by each of them.
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
        raise Malformed("Expected: the name of a field, with a minus before it for descending order.", at)
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

    The page shows all changes up to the number `seq`, and perhaps later ones.
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
        """A page of at most `limit` items. If `items` has one more than that, more items follow."""
        return Page(items[:limit], more=len(items) > limit, seq=seq)


@dataclass(frozen=True, slots=True)
class JsonPage:
    """A page whose items are JSON texts. If more items follow, `end` is the position after the last one.

    No text has a line break. `seq` is as in `Page`.
    """

    items: Sequence[str]
    end: Position | None
    seq: int | None = None

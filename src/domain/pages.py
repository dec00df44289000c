"""Pages of a list: keyset paging, so that a page costs the same at any depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_LIMIT: Final = 1000
"""The most items that one page holds."""

DEFAULT_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items in a row, and whether more follow the last of them."""

    items: Sequence[T]
    more: bool

    @classmethod
    def of(cls, items: Sequence[T], limit: int) -> "Page[T]":
        """A page of `limit` items out of up to one more than that, which shows whether more follow."""
        return cls(items[:limit], more=len(items) > limit)

"""Whole lists of any kind of entity."""

from collections.abc import AsyncGenerator, Collection
from typing import TypeVar

from domain.entities import Entity
from domain.lists.filters import Filter
from domain.lists.pages import MAX_LIMIT, Page, Sort
from domain.stores import Hidden, ReadStore

E = TypeVar("E", bound=Entity)


async def pages_of(
    store: ReadStore[E], *, filter: Filter | None, sort: Sort, hidden: Hidden, only: Collection[str] | None = None
) -> AsyncGenerator[Page[E]]:
    """The whole list in pages, of which there is at least one. In a snapshot all pages show the same state."""
    after, more = None, True
    while more:
        page = await store.page(filter=filter, sort=sort, hidden=hidden, after=after, limit=MAX_LIMIT, only=only)
        yield page
        more = page.more
        after = sort.position(page.items[-1]) if more else None

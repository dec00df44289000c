"""Lists of any kind of entity, in pages that say which state they show."""

from collections.abc import AsyncGenerator
from typing import TypeVar

from domain.changes import ReadChanges
from domain.entities import Entity
from domain.lists.filters import Filter
from domain.lists.pages import MAX_LIMIT, Page, Position, Sort
from domain.stores import Hidden, ReadStore

E = TypeVar("E", bound=Entity)


async def page_of(
    store: ReadStore[E],
    changes: ReadChanges,
    *,
    filter: Filter | None,
    sort: Sort,
    hidden: Hidden,
    after: Position | None,
    skip: int = 0,
    limit: int,
) -> Page[E]:
    seq = await changes.last()  # before, so that the page shows all changes up to it
    found = await store.list(filter=filter, sort=sort, hidden=hidden, after=after, skip=skip, limit=limit + 1)
    return Page.of(found, limit, seq)


async def pages_of(
    store: ReadStore[E], changes: ReadChanges, *, filter: Filter | None, sort: Sort, hidden: Hidden
) -> AsyncGenerator[Page[E]]:
    """The whole list, in pages of which there is at least one. On a snapshot all of them show one state."""
    after, more = None, True
    while more:
        page = await page_of(store, changes, filter=filter, sort=sort, hidden=hidden, after=after, limit=MAX_LIMIT)
        yield page
        more = page.more
        after = sort.position(page.items[-1]) if more else None

"""Whole lists of any kind of entity."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from domain.errors import Contended
from domain.lists.pages import MAX_LIMIT, JsonPage, Position
from domain.work import ReadingUnit
from services.operations import ATTEMPTS, ForRequest


async def in_pages(
    service: ForRequest, read: Callable[[ReadingUnit, Position | None, int], Awaitable[JsonPage]]
) -> AsyncGenerator[JsonPage]:
    """A whole list in pages, of which there is at least one. `read` gets the position after which its page begins, and
    the most items that it may have.

    All pages show the same state. But if the server that they come from is lost after the first page, the rest comes
    from another one and shows a later state. Then too, an entity whose place in the list does not change is there once.

    Raises `Contended` if no server goes on, or only one that has less than the first page has shown. Raises `Busy`
    while there are too many snapshots.
    """
    after: Position | None = None
    more, seq, failures = True, 0, 0
    while more:
        try:
            async with service.units.snapshot(service.context) as work:
                while more:
                    page = await read(work, after, MAX_LIMIT)
                    require_no_less(page, seq)
                    yield page
                    seq, more = page.seq or seq, page.end is not None
                    after = page.end or after
        except Contended:
            failures += 1
            if after is None or failures == ATTEMPTS:
                raise
            await service.units.pause(failures)


def require_no_less(page: JsonPage, seq: int) -> None:
    """A server that took the place of a lost one may lack its last changes."""
    if (page.seq or seq) < seq:
        raise Contended("This server lacks changes that were shown before.")

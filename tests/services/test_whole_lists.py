"""Whole lists, when the server that reads them is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from domain.errors import Contended
from domain.lists.pages import JsonPage, Position
from domain.work import ReadingUnit, RequestContext
from repositories.fake import MemoryUnitsOfWork
from repositories.stores import MemoryReadStores
from services.lists import in_pages
from services.operations import ATTEMPTS, Service

SEQ = 7
ITEMS = 5


class Servers(MemoryUnitsOfWork):
    """Each snapshot is on another server, which has a number of pages before it is lost, and a last change."""

    def __init__(self, *servers: tuple[int, int]) -> None:
        super().__init__()
        self.servers = iter(servers)

    @asynccontextmanager
    async def snapshot(self, context: RequestContext) -> AsyncIterator[MemoryReadStores]:
        self.pages, self.seq = next(self.servers)
        async with super().snapshot(context) as work:
            yield work

    async def read(self, _: ReadingUnit, after: Position | None, limit: int) -> JsonPage:
        if not self.pages:
            raise Contended("The connection was lost.")
        self.pages -= 1
        number = int((after or (0,))[0] or 0) + 1
        return JsonPage([str(number)], (number,) if number < ITEMS else None, self.seq)

    async def all(self) -> list[JsonPage]:
        service = Service(self, RequestContext(actor="reader", request_id="r1"))
        return [page async for page in in_pages(service, self.read)]


async def test_a_list_continues_where_it_was_interrupted() -> None:
    pages = await Servers((2, SEQ), (0, SEQ), (1, SEQ + 1), (9, SEQ + 2)).all()
    assert [item for page in pages for item in page.items] == [*map(str, range(1, ITEMS + 1))]
    assert [page.seq for page in pages] == [SEQ, SEQ, SEQ + 1, SEQ + 2, SEQ + 2]


async def test_a_list_that_did_not_begin_is_not_continued_on_another_server() -> None:
    servers = Servers((0, SEQ), (9, SEQ))
    with pytest.raises(Contended):
        await servers.all()
    assert next(servers.servers) == (9, SEQ)


async def test_a_list_does_not_continue_on_a_server_with_an_older_state() -> None:
    with pytest.raises(Contended, match="lacks"):
        await Servers((2, SEQ), *[(9, SEQ - 1)] * ATTEMPTS).all()


async def test_a_list_ends_when_no_server_continues_it() -> None:
    servers = Servers((2, SEQ), *[(0, SEQ)] * (ATTEMPTS - 1), (9, SEQ))
    with pytest.raises(Contended):
        await servers.all()
    assert next(servers.servers) == (9, SEQ)

"""The retries of a method whose unit of work is contended, on stores with planned failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.errors import Busy, Conflict, Contended, Refusal, Uncertain, Unreachable
from domain.idempotency import Committed
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitOfWork, MemoryUnitsOfWork
from repositories.stores import MemoryReadStores
from services.operations import ATTEMPTS
from services.users import UserService


class FaultyUnits(MemoryUnitsOfWork):
    """Refuses the first units with the given faults: writing units at their commit, reading units at their end."""

    def __init__(self, *faults: Refusal) -> None:
        super().__init__()
        self.faults = list(faults)
        self.begun: list[object] = []
        self.pauses: list[int] = []

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:
        async with super().reading(context) as work:
            self.begun.append(work)
            yield work
            self.fail()

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[MemoryUnitOfWork]:
        async with super().writing(context) as work:
            self.begun.append(work)
            commit = work.commit

            async def commit_or_fail(result: Any) -> Committed[Any]:
                self.fail()
                return await commit(result)

            work.commit = commit_or_fail  # type: ignore[method-assign]
            yield work

    def fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    async def pause(self, attempt: int) -> None:
        self.pauses.append(attempt)


def contended(times: int) -> list[Refusal]:
    return [Contended("Again.") for _ in range(times)]


async def test_a_unit_is_retried_while_it_is_contended(context: RequestContext) -> None:
    units = FaultyUnits(*contended(ATTEMPTS - 1))
    users = UserService(units, context)
    created = (await users.create(NewUser(name="Alice"))).result
    assert (await users.list(limit=10)).items == [created]
    assert units.pauses == [1, 2, 3, 4]


async def test_a_unit_is_busy_after_five_attempts(context: RequestContext) -> None:
    units = FaultyUnits(*contended(5))
    with pytest.raises(Busy):
        await UserService(units, context).create(NewUser(name="Alice"))
    assert len(units.begun) == ATTEMPTS == 5
    assert units.faults == []


async def test_a_database_that_stays_unreachable_is_not_reported_as_busy(context: RequestContext) -> None:
    units = FaultyUnits(*(Unreachable() for _ in range(ATTEMPTS)))
    with pytest.raises(Unreachable):
        await UserService(units, context).create(NewUser(name="Alice"))
    assert units.faults == []


async def test_each_attempt_is_a_new_unit_that_sees_only_committed_data(context: RequestContext) -> None:
    units = FaultyUnits(*contended(2))
    created = (await UserService(units, context).create(NewUser(name="Alice", email="alice@example.org"))).result
    assert len(set(map(id, units.begun))) == 3
    assert created.version == 1


async def test_a_read_is_retried_too(context: RequestContext) -> None:
    units = FaultyUnits()
    users = UserService(units, context)
    created = (await users.create(NewUser(name="Alice"))).result
    units.faults = contended(2)
    assert await users.get(created.id) == created
    assert units.pauses == [1, 2]


@pytest.mark.parametrize("refusal", [Uncertain("Who knows."), Busy("Later."), Conflict("email")])
async def test_a_refused_unit_is_not_retried(context: RequestContext, refusal: Refusal) -> None:
    units = FaultyUnits(refusal)
    with pytest.raises(type(refusal)) as refused:
        await UserService(units, context).create(NewUser(name="Alice"))
    assert refused.value is refusal
    assert (len(units.begun), units.pauses) == (1, [])


async def test_a_unit_with_a_defect_is_not_retried(context: RequestContext) -> None:
    units = FaultyUnits()
    units.faults = [KeyError("a defect")]  # type: ignore[list-item]
    with pytest.raises(KeyError):
        await UserService(units, context).create(NewUser(name="Alice"))
    assert (len(units.begun), units.pauses) == (1, [])

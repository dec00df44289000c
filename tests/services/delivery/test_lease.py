"""When a process takes the lease of the one that delivers."""

import asyncio
from typing import Final

import pytest
from tests.services.virtual_time import in_virtual_time, monotonic

from domain.delivery.leases import Lease
from repositories.fake import MemoryUnitsOfWork
from services.delivery.lease import GONE_AFTER_S, LOOK_EVERY_S, hold_lease
from services.delivery.ledger import Ledger

MINE, THEIRS = "this process", "another process"
OFTEN: Final = 7
"""Times that the other process beats, each after a second."""


@pytest.fixture
def mine(units: MemoryUnitsOfWork) -> Ledger:
    return Ledger(units, MINE)


@pytest.fixture
def theirs(units: MemoryUnitsOfWork) -> Ledger:
    return Ledger(units, THEIRS)


async def held_at(ledger: Ledger, *, alone: bool = False) -> float:
    """The second at which it holds the lease."""
    await hold_lease(ledger, monotonic, alone=alone)
    held = await ledger.lease()
    assert held is not None
    assert held.holder == ledger.holder
    return monotonic()


@in_virtual_time
async def test_a_free_lease_is_taken_at_once(mine: Ledger) -> None:
    assert await held_at(mine) == 0


@in_virtual_time
async def test_a_process_takes_its_own_lease_again_at_once(mine: Ledger) -> None:
    await mine.take_lease(None)
    assert await held_at(mine) == 0
    assert await mine.lease() == Lease(MINE, 2)


@in_virtual_time
async def test_the_lease_of_a_dead_process_is_taken_when_it_counts_as_gone(mine: Ledger, theirs: Ledger) -> None:
    await theirs.take_lease(None)
    assert await held_at(mine) == GONE_AFTER_S


@in_virtual_time
async def test_a_process_that_is_alone_does_not_wait(mine: Ledger, theirs: Ledger) -> None:
    await theirs.take_lease(None)
    assert await held_at(mine, alone=True) == 0


@in_virtual_time
async def test_the_lease_of_a_process_that_beats_is_not_taken(mine: Ledger, theirs: Ledger) -> None:
    await theirs.take_lease(None)
    waiting = asyncio.create_task(held_at(mine))
    for _ in range(OFTEN):
        await asyncio.sleep(1)
        await theirs.keep([], [])
    seen_at = OFTEN + 1  # the last beat, by a process that looks every other second
    assert seen_at % LOOK_EVERY_S == 0
    assert await waiting == seen_at + GONE_AFTER_S


@in_virtual_time
async def test_a_released_lease_is_taken_at_the_next_attempt(mine: Ledger, theirs: Ledger) -> None:
    await theirs.take_lease(None)
    waiting = asyncio.create_task(held_at(mine))
    await asyncio.sleep(1)
    await theirs.give_lease_back()
    assert await waiting == LOOK_EVERY_S


@in_virtual_time
async def test_a_process_that_another_one_overtook_waits_again(theirs: Ledger, units: MemoryUnitsOfWork) -> None:
    third = Ledger(units, "a third process")

    class Overtaken(Ledger):
        async def take_lease(self, seen: Lease | None) -> bool:
            await third.take_lease(seen if monotonic() == GONE_AFTER_S else None)
            return await super().take_lease(seen)

    await theirs.take_lease(None)
    assert await held_at(Overtaken(units, MINE)) == GONE_AFTER_S + LOOK_EVERY_S + GONE_AFTER_S

"""The services under a seeded scheduler: stores fail before, fail after, delay and cancel, and processes die.

`make simulation` runs a million seeds. `SIMULATION_FROM` is the first seed, `SIMULATION_SEEDS` the one after the last.
"""

import os
from typing import Final

import pytest
from tests.simulation.run import first_failure, report, simulate

SEEDS: Final = int(os.environ.get("SIMULATION_SEEDS", "20000"))
PARTS: Final = 8
FROM: Final = int(os.environ.get("SIMULATION_FROM", "0"))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_in_every_run(part: int) -> None:
    failure = first_failure(range(FROM + part, FROM + SEEDS, PARTS))
    assert failure is None, report(failure)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_repeats_the_same_run(seed: int) -> None:
    once: list[str] = []
    again: list[str] = []
    simulate(seed, trace=once.append)
    simulate(seed, trace=again.append)
    assert once
    assert once == again


def test_different_seeds_are_different_runs() -> None:
    one: list[str] = []
    other: list[str] = []
    simulate(1, trace=one.append)
    simulate(2, trace=other.append)
    assert one != other

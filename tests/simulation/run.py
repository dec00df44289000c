"""Runs of the simulation: a seed is a run, and the same seed is the same run."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, cast

from tests.simulation.clients import Attempt, Client, Follower
from tests.simulation.loop import Deadlock, SimulatedLoop
from tests.simulation.promises import broken
from tests.simulation.world import Process, World

from domain.changes import FIELDS
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter

CLIENTS: Final = 3
OPERATIONS: Final = 2
FAULT_RATES: Final = (0.0, 0.03, 0.1, 0.25)
ALL_USERS: Final[Filter] = parse_filter('kind eq "user"', FIELDS)


@dataclass(frozen=True, slots=True)
class Failure:
    seed: int
    broken: tuple[str, ...]


def simulate(seed: int, process: type[Process] = Process, tell: Callable[[str], None] | None = None) -> Failure | None:
    """One run. Returns what it broke, or None."""
    random = Random(seed)
    loop: SimulatedLoop = cast("Any", SimulatedLoop)(random)  # it leaves out what needs files and sockets
    world = World(random, FAULT_RATES[seed % len(FAULT_RATES)], process, tell)
    attempts: list[Attempt] = []
    followers = [Follower(world, ALL_USERS if seed % 3 else None)]
    try:
        loop.run(everybody(world, attempts, followers))
    except Deadlock:
        return Failure(seed, ("everybody waits for ever",))
    failures = [str(each.get("exception") or each["message"]) for each in loop.failures]
    found = [*failures, *broken(world.database._tables, attempts, followers)]
    return Failure(seed, tuple(found)) if found else None


async def everybody(world: World, attempts: list[Attempt], followers: list[Follower]) -> None:
    start = asyncio.get_running_loop().create_task
    following = [start(each.run()) for each in followers]
    clients = [start(Client(world, f"c{number}", attempts).run(OPERATIONS)) for number in range(CLIENTS)]
    for each in clients:
        await each
    world.is_quiet = True
    for process in world.processes:
        process.release()
    for each in following:
        await each


def first_failure(seeds: Iterable[int], process: type[Process] = Process) -> Failure | None:
    return next(filter(None, (simulate(seed, process) for seed in seeds)), None)


def report(failure: Failure, process: type[Process] = Process) -> str:
    """What a run broke, and its schedule: every step of it in order."""
    schedule: list[str] = []
    simulate(failure.seed, process, schedule.append)
    return "\n".join([f"seed {failure.seed}:", *failure.broken, "its schedule:", *schedule])

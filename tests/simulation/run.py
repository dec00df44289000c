"""Runs of the simulation: a seed is a run, and the same seed is the same run."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.simulation.clients import GROUPWORK, PEOPLE, Attempt, Client, Follower, begin_with_groups
from tests.simulation.delivery import Receiver, all_is_delivered, broken_delivery, kill_some, open_webhook
from tests.simulation.loop import Deadlock, simulated_loop
from tests.simulation.promises import broken
from tests.simulation.world import Process, World

from domain.changes import FIELDS
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter
from domain.webhooks import Webhook

CLIENTS: Final = 3
OPERATIONS: Final = 2
FAULT_RATES: Final = (0.0, 0.03, 0.1, 0.25)
ALL_USERS: Final[Filter] = parse_filter('kind eq "user"', FIELDS)


WEBHOOKS_IN: Final = 64
"""In one of so many runs there is a webhook: it takes as long as twenty others."""


@dataclass(frozen=True, slots=True)
class Failure:
    seed: int
    broken: tuple[str, ...]


@dataclass(slots=True)
class Run:
    """Who takes part in one run: it is about people, or about groups, and a few have a webhook too."""

    world: World
    about_groups: bool
    has_webhook: bool
    attempts: list[Attempt] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    hook: tuple[Webhook, Receiver] | None = None

    async def go(self) -> None:
        world, start = self.world, asyncio.get_running_loop().create_task
        if self.has_webhook:
            self.hook = await open_webhook(world)
        operations = GROUPWORK if self.about_groups else PEOPLE
        following = [start(each.run()) for each in self.followers]
        names = [f"c{number}" for number in range(CLIENTS)]
        clients = [start(Client(world, name, self.attempts, operations).run(OPERATIONS)) for name in names]
        for each in clients:
            await each
        if self.hook is not None:
            await kill_some(world)
        world.is_quiet = True
        if self.hook is not None:
            await all_is_delivered(world, *self.hook)
        for process in world.processes:
            process.release()
        for each in following:
            await each
        for process in world.processes:
            process.die()

    def broken(self) -> Iterator[str]:
        tables = self.world.database._tables
        yield from broken(tables, self.attempts, self.followers)
        if self.hook is not None:
            yield from broken_delivery(*self.hook, tables.changes)


def has_webhook(seed: int) -> bool:
    return seed // (2 * len(FAULT_RATES)) % WEBHOOKS_IN == 0


def simulate(seed: int, process: type[Process] = Process, tell: Callable[[str], None] | None = None) -> Failure | None:
    """One run. Returns what it broke, or None."""
    random = Random(seed)
    loop = simulated_loop(random)
    world = World(random, FAULT_RATES[seed % len(FAULT_RATES)], process, tell)
    run = Run(world, about_groups=seed // len(FAULT_RATES) % 2 == 1, has_webhook=has_webhook(seed))
    if run.about_groups:
        begin_with_groups(world)
    run.followers.append(Follower(world, ALL_USERS if seed % 3 else None))
    try:
        loop.run(run.go())
    except Deadlock:
        return Failure(seed, ("everybody waits for ever",))
    failures = [str(each.get("exception") or each["message"]) for each in loop.failures]
    found = [*failures, *run.broken()]
    return Failure(seed, tuple(found)) if found else None


def first_failure(seeds: Iterable[int], process: type[Process] = Process) -> Failure | None:
    return next(filter(None, (simulate(seed, process) for seed in seeds)), None)


def report(failure: Failure, process: type[Process] = Process) -> str:
    """What a run broke, and its schedule: every step of it in order."""
    schedule: list[str] = []
    simulate(failure.seed, process, schedule.append)
    return "\n".join([f"seed {failure.seed}:", *failure.broken, "its schedule:", *schedule])

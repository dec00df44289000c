"""Runs of the simulation: a seed is a run, and the same seed is the same run."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.simulation.acts import GROUPWORK, PEOPLE
from tests.simulation.beginnings import tables_at_first
from tests.simulation.clients import Attempt, Client, Follower
from tests.simulation.delivery import Receiver, all_is_delivered, broken_delivery, deliver, kill_some
from tests.simulation.loop import Deadlock, simulated_loop
from tests.simulation.promises import broken
from tests.simulation.world import Process, World

from domain.changes import FIELDS
from domain.delivery.webhooks import Webhook
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter

FAULT_RATES: Final = (0.0, 0.03, 0.1, 0.25)
ALL_USERS: Final[Filter] = parse_filter('kind eq "user"', FIELDS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decides about its run before anything is drawn: the seeds take turns.

    Most runs are short, because they find most faults in the least time. Other faults need many steps, or deliveries.
    So one of 32 runs is long, one of 64 has a webhook, and one of 8 has a reader of the feed, which takes a third of
    its time.
    """

    fault_rate: float
    is_about_groups: bool
    has_follower: bool
    is_long: bool
    has_webhook: bool

    @classmethod
    def of(cls, seed: int) -> "Plan":
        rest, rate = divmod(seed, len(FAULT_RATES))
        rest, about_groups = divmod(rest, 2)
        rest, follower = divmod(rest, 8)
        return cls(FAULT_RATES[rate], about_groups == 1, follower == 1, rest % 32 == 1, rest % 64 == 0)

    @property
    def clients(self) -> int:
        return 4 if self.is_long else 2

    @property
    def operations(self) -> int:
        """How many each client does."""
        return 6 if self.has_webhook else 4 if self.is_long else 2


@dataclass(frozen=True, slots=True)
class Failure:
    seed: int
    broken: tuple[str, ...]


@dataclass(slots=True)
class Run:
    plan: Plan
    world: World
    followers: Sequence[Follower]
    attempts: list[Attempt] = field(default_factory=list)
    hook: tuple[Webhook, Receiver] | None = None

    async def go(self) -> None:
        world, start = self.world, asyncio.get_running_loop().create_task
        if self.plan.has_webhook:
            self.hook = deliver(world)
        acts = GROUPWORK if self.plan.is_about_groups else PEOPLE
        following = [start(each.run()) for each in self.followers]
        clients = [
            start(Client(world, f"c{number}", self.attempts, acts).run(self.plan.operations))
            for number in range(self.plan.clients)
        ]
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
        tables = self.world.tables
        yield from broken(tables, self.attempts, self.followers)
        if self.hook is not None:
            yield from broken_delivery(*self.hook, tables.changes)


def simulate(seed: int, process: type[Process] = Process, trace: Callable[[str], None] | None = None) -> Failure | None:
    """One run. Returns what it broke, or None."""
    plan, random = Plan.of(seed), Random(seed)
    loop = simulated_loop(random)
    tables = tables_at_first(groups=plan.is_about_groups, webhook=plan.has_webhook).copy()
    world = World(random, plan.fault_rate, process, tables, trace)
    follower = Follower(world, ALL_USERS if seed % 3 else None, tables.last_change)
    run = Run(plan, world, [follower] if plan.has_follower else [])
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

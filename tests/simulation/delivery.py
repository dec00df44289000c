"""A webhook in a simulation: every process may deliver, and the receiver fails now and then."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic_core import to_json
from tests.simulation.beginnings import WEBHOOK
from tests.simulation.world import EPOCH, Process, World

from domain.changes import Change
from domain.delivery.deliveries import Answer
from domain.delivery.webhooks import Webhook
from domain.lists.filters import matches
from domain.references import Subject
from services.delivery.deliverer import Deliverer
from services.delivery.ledger import Ledger
from services.delivery.sender import SenderDependencies

STUBBORN: Final = 1 / 8
"""The share of receivers at which a message may fail twice. The second wait is five minutes, in which two processes
look for work every second, and the third would be half an hour."""

PATIENCE_S: Final = 3600
"""After the last failure, everything has to be delivered within this time."""

LOOK_EVERY_S: Final = 5
DEATHS: Final = 2


class NoMeter:
    def attempted(self, outcome: str) -> None:
        """Nobody counts."""

    def lag(self, seconds: float) -> None:
        """Nobody measures."""


@dataclass(slots=True)
class Receiver:
    """The receiver of the messages of one webhook."""

    world: World
    taken: list[tuple[Subject, int]] = field(default_factory=list)
    """The received messages in order: the entity and the number of the change."""

    _failures: Counter[int] = field(default_factory=Counter)
    _max_failures: int = 1

    def __post_init__(self) -> None:
        if self.world.random.random() < STUBBORN:
            self._max_failures = 2

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        data = json.loads(body)["data"]
        random, seq = self.world.random, data["seq"]
        await asyncio.sleep(random.random())
        fails = random.random() < 2 * self.world.fault_rate and self._failures[seq] < self._max_failures
        if fails:
            self._failures[seq] += 1
            if random.random() < 1 / 2:
                return Answer(milliseconds=1, status=500)
        self.taken.append(((data["kind"], data["entity_id"]), seq))
        if self.world.trace:
            self.world.trace(f"the receiver takes change {seq}")
        return Answer(milliseconds=1, error="The answer was lost.") if fails else Answer(milliseconds=1, status=200)


def deliver(world: World) -> tuple[Webhook, Receiver]:
    """All processes deliver to the webhook, and so do those that replace dead ones."""
    webhook: Webhook = world.tables.rows[Webhook.kind].by_id[WEBHOOK]
    receiver = Receiver(world)

    def clock() -> datetime:
        """A clock without jumps. After a jump by days each process would look a thousand times."""
        return EPOCH + timedelta(seconds=monotonic())

    def begin(process: Process, number: int) -> None:
        dependencies = SenderDependencies(
            ledger=Ledger(process, f"process {number}"),
            post=receiver.post,
            encode=to_json,
            meter=NoMeter(),
            clock=clock,
            random=lambda: 0.5,
        )
        process.run_beside(Deliverer(dependencies, monotonic, alone=False).run())

    monotonic = asyncio.get_running_loop().time
    world.serve_with(begin)
    return webhook, receiver


async def kill_some(world: World) -> None:
    """Processes die while messages are being sent or wait to be retried."""
    for _ in range(DEATHS):
        await asyncio.sleep(2 * world.random.random())
        for process in list(world.processes):
            world.kill(process)


async def all_is_delivered(world: World, webhook: Webhook, receiver: Receiver) -> None:
    """Waits for the last delivery, but not for ever."""
    for _ in range(PATIENCE_S // LOOK_EVERY_S):
        if not missing(wanted_by(webhook, world.tables.changes), receiver):
            return
        await asyncio.sleep(LOOK_EVERY_S)


def wanted_by(webhook: Webhook, record: Sequence[Change]) -> Sequence[Change]:
    wanted = webhook.wanted
    return [change for change in record if change.seq > webhook.position and matches(wanted, change)]


def missing(wanted: Sequence[Change], receiver: Receiver) -> set[int]:
    return {change.seq for change in wanted} - {seq for _, seq in receiver.taken}


def broken_delivery(webhook: Webhook, receiver: Receiver, record: Sequence[Change]) -> Iterator[str]:
    """Every change arrives, and the changes of an entity arrive in order."""
    wanted = wanted_by(webhook, record)
    for seq in sorted(missing(wanted, receiver)):
        yield f"change {seq} was not delivered"
    seen: dict[Subject, set[int]] = {}
    for subject, seq in receiver.taken:
        before = {each.seq for each in wanted if (each.kind, each.entity_id) == subject and each.seq < seq}
        if not before <= seen.setdefault(subject, set()):
            yield f"change {seq} was delivered before another one of the same entity"
        seen[subject].add(seq)

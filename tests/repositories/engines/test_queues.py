"""Nobody waits in a queue that is longer than the time-out, and nobody is refused while it is shorter."""

import asyncio

import pytest

from domain.errors import Busy
from repositories.engines.meter import NO_METER
from repositories.engines.queues import Queue
from repositories.engines.sqlite.locks import TimedLock


def filled(queue: Queue, *, waiting: int, held_s: float) -> Queue:
    for _ in range(200):
        queue.held(held_s)
    queue.waiting = waiting
    return queue


@pytest.mark.parametrize(("waiting", "is_too_long"), [(0, False), (19, False), (21, True)])
def test_a_queue_is_too_long_when_its_last_one_would_wait_in_vain(waiting: int, is_too_long: bool) -> None:
    queue = filled(Queue(1, timeout_s=2), waiting=waiting, held_s=0.1)
    assert queue.is_too_long is is_too_long


def test_several_places_serve_as_many_times_as_many() -> None:
    assert not filled(Queue(10, timeout_s=2), waiting=190, held_s=0.1).is_too_long
    assert filled(Queue(10, timeout_s=2), waiting=210, held_s=0.1).is_too_long


def test_a_queue_of_which_nothing_is_known_is_not_too_long() -> None:
    queue = Queue(1, timeout_s=2)
    queue.waiting = 1_000_000
    assert not queue.is_too_long


async def test_who_would_wait_in_vain_for_a_lock_is_refused_at_once() -> None:
    """The time-out is an hour: whoever waits would not come back."""
    lock = TimedLock("write", 3600, NO_METER, "Too many.")
    await lock.acquire()
    lock._held_since -= 6 * 3600  # so it was held for hours
    lock.release()
    await lock.acquire()
    waiting = [asyncio.create_task(lock.acquire()) for _ in range(2)]
    await asyncio.sleep(0)

    async with asyncio.timeout(30):
        with pytest.raises(Busy, match="Too many"):
            await lock.acquire()

    lock.release()
    await waiting[0]  # those who were there before keep their places
    lock.release()
    await waiting[1]
    lock.release()
    await lock.acquire()  # the queue is empty: whatever was before, it is tried again

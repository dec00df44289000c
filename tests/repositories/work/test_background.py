"""Background tasks end with the server, and a scrubbing is repeated until nothing is left to do."""

import asyncio

import pytest

from repositories.engines.upkeep.scrubbing import Scrubbed
from repositories.work import background
from repositories.work.background import Background, Scrubbing

pytestmark = pytest.mark.bound(10)


async def test_a_stop_returns_when_every_task_has_ended() -> None:
    tasks, begun, ended = Background(), asyncio.Event(), []

    async def job() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    tasks.run(job, "a long job")
    await begun.wait()
    await tasks.stop()
    assert ended == [True]


async def test_a_task_that_has_ended_is_forgotten() -> None:
    tasks, done = Background(), asyncio.Event()

    async def job() -> None:
        done.set()

    tasks.run(job, "a short job")
    await done.wait()
    while tasks._tasks:  # noqa: ASYNC110  # until the loop has told it
        await asyncio.sleep(0)


@pytest.mark.parametrize(("last", "is_clean"), [(Scrubbed.ALL, True), (Scrubbed.SOME, False)])
async def test_a_scrubbing_is_over_when_it_can_do_no_more(
    monkeypatch: pytest.MonkeyPatch, last: Scrubbed, is_clean: bool
) -> None:
    monkeypatch.setattr(background, "AGAIN_AFTER_S", 0)
    results = [Scrubbed.NOT_YET, Scrubbed.NOT_YET, last]

    async def scrub(*, gives_way: bool) -> Scrubbed:
        return results.pop(0)

    tasks = Background()
    scrubbing = Scrubbing(scrub, tasks)
    assert await scrubbing.is_over(0)
    scrubbing.erased()
    assert await scrubbing.is_over(10) is is_clean
    assert (results, scrubbing.is_idle) == ([], True)
    await tasks.stop()


async def test_an_erasure_during_a_scrubbing_needs_another_one() -> None:
    passes, begun, may_go_on = [], asyncio.Event(), asyncio.Event()

    async def scrub(*, gives_way: bool) -> Scrubbed:
        passes.append(gives_way)
        begun.set()
        await may_go_on.wait()
        return Scrubbed.ALL

    tasks = Background()
    scrubbing = Scrubbing(scrub, tasks)
    scrubbing.erased()
    await begun.wait()
    scrubbing.erased()
    assert not await scrubbing.is_over(0)
    may_go_on.set()
    assert await scrubbing.is_over(10)
    assert passes == [True, True]
    await tasks.stop()

"""What holds while many write at once."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import pytest

from domain.changes import Change
from domain.errors import Conflict
from domain.idempotency import Committed
from domain.users import NewUser
from domain.work import RequestContext, UnitsOfWork
from services.users import UserService

CREATORS: Final = 20
WRITERS: Final = 8
STEPS: Final = 8


async def test_of_many_creations_with_the_same_email_one_succeeds(units: UnitsOfWork, users: UserService) -> None:
    spellings = ["alice@example.org", "ALICE@example.org"]
    attempts = (users.create(NewUser(name=f"User {number}", email=spellings[number % 2])) for number in range(CREATORS))
    async with asyncio.timeout(60):
        results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [result.result for result in results if isinstance(result, Committed)]
    losers = [result for result in results if isinstance(result, Conflict)]
    assert (len(winners), len(losers)) == (1, CREATORS - 1)
    assert {loser.field for loser in losers} == {"email"}
    assert (await users.list(limit=100)).items == winners
    async with units.reading() as work:
        assert [change.entity_id for change in await work.changes.list(limit=100)] == [winners[0].id]


async def test_concurrent_patches_of_one_user_are_all_kept(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    patches = (users.patch(alice.id, {"attributes": {str(number): number}}) for number in range(CREATORS))
    async with asyncio.timeout(60):
        await asyncio.gather(*patches)
    kept = await users.get(alice.id)
    assert kept.attributes == {str(number): number for number in range(CREATORS)}
    assert kept.version == 1 + CREATORS


async def test_of_many_deletions_of_one_user_one_succeeds(units: UnitsOfWork, users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(users.delete(alice.id) for _ in range(8)), return_exceptions=True)
    assert len([result for result in results if isinstance(result, Committed)]) == 1
    async with units.reading() as work:
        assert len(await work.changes.list(limit=100)) == 2


@pytest.mark.parametrize("seed", range(2))
async def test_a_follower_sees_every_change_once_and_in_order(
    units: UnitsOfWork, context: RequestContext, seed: int
) -> None:
    async with asyncio.timeout(60):
        writers = [asyncio.create_task(write(units, context, f"{seed}.{number}")) for number in range(WRITERS)]
        seen = await follow(units, writers)
        written = sum([await writer for writer in writers])
    async with units.reading() as work:
        assert seen == await work.changes.list(limit=1000)
    assert len(seen) == written
    numbers = [change.seq for change in seen]
    assert numbers == sorted(set(numbers))
    versions = defaultdict(list)
    for change in seen:
        versions[change.entity_id].append(change.version)
    assert all(each == list(range(1, len(each) + 1)) for each in versions.values())


async def write(units: UnitsOfWork, context: RequestContext, seed: str) -> int:
    """Creates, patches and deletes at random, with a seed. Returns the number of changes."""
    users, dice, mine, made = UserService(units, context), random.Random(seed), list[int](), 0
    for step in range(STEPS):
        act = dice.choice(["create", "patch", "patch", "delete", "refused"]) if mine else "create"
        if act == "create":
            mine.append(((await users.create(NewUser(name="User", external_id=f"{seed}.{step}"))).result).id)
        elif act == "patch":
            await users.patch(dice.choice(mine), {"name": f"User {step}"})
        elif act == "delete":
            await users.delete(mine.pop(dice.randrange(len(mine))))
        else:
            taken = (await users.get(mine[0])).external_id
            with pytest.raises(Conflict):
                await users.create(NewUser(name="User", external_id=taken))
        made += act != "refused"
    return made


async def follow(units: UnitsOfWork, writers: Sequence["asyncio.Task[int]"]) -> list[Change]:
    """Reads from the last number that it saw, until nobody writes and nothing is left."""
    seen: list[Change] = []
    while True:
        over = all(writer.done() for writer in writers)
        async with units.reading() as work:
            news = await work.changes.list(since=seen[-1].seq if seen else 0, limit=5)
        seen += news
        if over and not news:
            return seen
        await asyncio.sleep(0)  # memory answers without letting anybody else run

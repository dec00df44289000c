"""The cost of a change of members in a small and in a large group: `python -m bench.groups`, in a minute.

It runs the services on a SQLite file in a temporary folder, or on the empty database of the URL that is its argument.
Compare the ratios: microseconds depend on the machine.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

from domain.groups import NewGroup
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.work.units_of_work import SqlUnitsOfWork
from services.groups import GroupService
from services.memberships import MembershipService

if TYPE_CHECKING:
    from domain.values import JsonObject

SMALL: Final = 10
LARGE: Final = 100_000
BATCH: Final = 10_000
TURNS: Final = 50
CONTEXT: Final = RequestContext(actor="bench", request_id="bench")


async def took(call: Callable[[], Awaitable[object]]) -> float:
    """The time of the call in milliseconds."""
    begun = time.perf_counter()
    await call()
    return (time.perf_counter() - begun) * 1000


async def fill(units: SqlUnitsOfWork, count: int) -> None:
    """Users with the ids 1 to `count`."""
    for start in range(0, count, BATCH):
        async with units.writing(CONTEXT) as work:
            await work.users.add_many([NewUser(name=f"User {start + number}") for number in range(BATCH)])
            await work.commit(None)


async def measure(url: str) -> None:
    database = database_at(url, serving=True, pool_size=4, pool_timeout_s=5)
    await database.upgrade()
    await database.start()
    units = SqlUnitsOfWork(database)
    groups, members = GroupService(units, CONTEXT), MembershipService(units, CONTEXT)
    await fill(units, LARGE + BATCH)
    small, large = [(await groups.create(NewGroup(name=name))).result.id for name in ("small", "large")]
    await members.change(small, add={id: {} for id in range(1, SMALL + 1)})
    batches = []
    for start in range(0, LARGE, BATCH):
        add: dict[int, JsonObject] = {id: {} for id in range(start + 1, start + BATCH + 1)}
        batches.append(await took(partial(members.change, large, add=add)))
    print(f"{BATCH} members added in one request: {min(batches):.0f} to {max(batches):.0f} ms")
    ones: dict[str, list[float]] = {}
    for user in range(LARGE + 1, LARGE + TURNS + 1):  # side by side, so that both meet the same noise
        for name, group in (("small", small), ("large", large)):
            for what, call in (
                (f"add one to {name}", partial(members.put, group, user)),
                (f"page of 100 of {name}", partial(members.list, group, limit=100)),
                (f"remove one from {name}", partial(members.remove, group, user)),
            ):
                ones.setdefault(what, []).append(await took(call))
    for name, times in ones.items():
        print(f"{name}: {median(times):.2f} ms")
    print(f"delete the large group: {await took(partial(groups.delete, large)):.1f} ms")
    print(f"restore it: {await took(partial(groups.restore, large)):.1f} ms")
    print(f"erase it: {await took(partial(groups.purge, large)):.0f} ms")
    await units.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/roster.db"))

"""One process at a time: holding a lease, and taking over that of a process that is gone."""

import asyncio
from collections.abc import Callable
from typing import Final

from services.delivery.ledger import Ledger

BEAT_EVERY_S: Final = 3.0
LOOK_EVERY_S: Final = 2.0
GONE_AFTER_S: Final = 8.0
"""For how long there is no beat before a process counts as gone: it is replaced in less than 15 seconds."""


async def hold_lease(ledger: Ledger, monotonic: Callable[[], float], *, alone: bool) -> None:
    """Return when this process holds the lease. If it is `alone` it waits for nobody: the one before it has ended."""
    seen, since = await ledger.lease(), monotonic()
    while True:
        is_free = alone or seen is None or seen.holder == ledger.holder or monotonic() - since >= GONE_AFTER_S
        if is_free and await ledger.take_lease(seen):
            return
        await asyncio.sleep(LOOK_EVERY_S)
        if (now_seen := await ledger.lease()) != seen:
            seen, since = now_seen, monotonic()

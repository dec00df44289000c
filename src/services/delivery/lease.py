"""The lease of the one process that delivers: taking it, and taking it over from a dead process."""

import asyncio
from collections.abc import Callable
from typing import Final

from services.delivery.ledger import Ledger

BEAT_EVERY_S: Final = 3.0
LOOK_EVERY_S: Final = 2.0
GONE_AFTER_S: Final = 8.0
"""A process that has not renewed its lease for so long counts as dead. It is replaced in less than 15 seconds."""


async def hold_lease(ledger: Ledger, monotonic: Callable[[], float], *, alone: bool) -> None:
    """Return when this process holds the lease. If it is `alone`, it does not wait, because the process before it has
    ended."""
    seen, since = await ledger.lease(), monotonic()
    while True:
        is_free = alone or seen is None or seen.holder == ledger.holder or monotonic() - since >= GONE_AFTER_S
        if is_free and await ledger.take_lease(seen):
            return
        await asyncio.sleep(LOOK_EVERY_S)
        if (now_seen := await ledger.lease()) != seen:
            seen, since = now_seen, monotonic()

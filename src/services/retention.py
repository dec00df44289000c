"""Retention: removing old changes that no webhook needs any more."""

from datetime import timedelta
from typing import Final

from domain.work import RequestContext, UnitsOfWork
from services.operations import retry

AT_ONCE: Final = 1000
"""How many changes one transaction removes. Others can write between two transactions."""

GRACE: Final = timedelta(days=30)
"""How much longer changes are kept if an active webhook has not delivered them yet."""


class Retention:
    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    @retry
    async def trim(self, keep: timedelta) -> int:
        """Remove at most `AT_ONCE` changes that are older than this. Returns how many it removed. If that is `AT_ONCE`,
        call it again."""
        async with self.units.writing(RequestContext(actor="retention", request_id="-")) as work:
            last = await work.changes.last()
            needed = await work.deliveries.needed_from()
            removed = await work.changes.trim(before=work.now - keep - GRACE, up_to=last - 1, limit=AT_ONCE)
            up_to = last - 1 if needed is None else min(last, needed) - 1
            if removed < AT_ONCE:
                removed += await work.changes.trim(before=work.now - keep, up_to=up_to, limit=AT_ONCE - removed)
            await work.commit(None)
            return removed

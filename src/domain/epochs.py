"""Epochs: after a restore from a backup, numbers that were given out since the backup are not given out again."""

from datetime import UTC, datetime, timedelta
from typing import Final

MARGIN: Final = 1_000_000
ZERO: Final = datetime(2020, 1, 1, tzinfo=UTC)


def start_of_epoch(highest: int, now: datetime) -> int:
    """The number after which ids and changes are counted in a new epoch; `highest` is the highest that is known.

    What was lost may have had higher ones. So it is at least the milliseconds since 2020: no directory has given out
    that many, because it would have needed a thousand in each second since its last epoch began.
    """
    return max(highest + MARGIN, (now - ZERO) // timedelta(milliseconds=1))

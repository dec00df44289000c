"""Epochs: after a restore from a backup, numbers that were used since the backup are not used again."""

from datetime import UTC, datetime, timedelta
from typing import Final

MARGIN: Final = 1_000_000
ZERO: Final = datetime(2020, 1, 1, tzinfo=UTC)


def start_of_epoch(highest: int, now: datetime) -> int:
    """The number after which ids and changes are counted in a new epoch. `highest` is the highest number that is known.

    The lost data may have had higher numbers. So the result is at least the milliseconds since 2020. No directory has
    used so many numbers: it would have needed a thousand in each second since the last epoch began.
    """
    return max(highest + MARGIN, (now - ZERO) // timedelta(milliseconds=1))

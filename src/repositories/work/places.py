"""Places for what holds something for long, such as a stream or a wait: so many in all, so many for each caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from domain.errors import Busy

TOO_MANY_STREAMS: Final = "Too many streams are under way. Try again shortly."


class Places:
    """Places that are taken at once or not at all: nobody waits for one."""

    def __init__(self, number: int, per_caller: int, refusal: str) -> None:
        self._number = number
        self._per_caller = per_caller
        self._refusal = refusal
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Raises `Busy` while all are taken, or all that one caller may have."""
        if self.taken >= self._number or self._taken[caller] >= self._per_caller:
            raise Busy(self._refusal)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

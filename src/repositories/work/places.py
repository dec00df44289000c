"""Places: they limit streams, waits and the like, in total and for each caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from domain.errors import Busy

TOO_MANY_STREAMS: Final = "Too many streams are under way. Try again shortly."


class Places:
    """A limited number of places. Nobody waits for a place: it is taken at once or refused."""

    def __init__(self, number: int, per_caller: int, refusal: str) -> None:
        self._number = number
        self._per_caller = per_caller
        self._refusal = refusal
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """The number of taken places."""
        return self._taken.total()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Take a place for the duration of the block. Raises `Busy` if all are taken, or all that this caller may
        have."""
        if self.taken >= self._number or self._taken[caller] >= self._per_caller:
            raise Busy(self._refusal)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

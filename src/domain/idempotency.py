"""Doing something once, however often it is asked for: what an idempotency key stands for.

A client that lost the answer asks again with the same key. The answer was stored in the same transaction as what it
answers, so either both are there, and the answer is given again, or neither is, and the work is done now.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from domain.changes import Entity
from domain.errors import Refusal

REMEMBERED_FOR: Final = timedelta(hours=24)
IN_FLIGHT: Final = "A request with this idempotency key is under way. Ask again shortly."


@dataclass(slots=True)
class IdempotencyKey:
    """A key, scoped to the actor; a fingerprint of the whole request; and how to write the answer down.

    `answer` is given the entity that was written last and the sequence number of its change.
    """

    key: str
    fingerprint: str
    answer: Callable[[Entity, int], str]


class AlreadyDone(Exception):  # not an error: the answer
    """What was asked for was done before. Holds the answer as it was written down then."""

    def __init__(self, answer: str) -> None:
        super().__init__("This was done before.")
        self.answer = answer


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"


class InFlight(Refusal):
    code = "in_flight"


def replay(idempotency_key: IdempotencyKey, fingerprint: str, answer: str) -> AlreadyDone | IdempotencyKeyReused:
    """What to raise when the key is known: the answer, if it was the same request."""
    if fingerprint != idempotency_key.fingerprint:
        return IdempotencyKeyReused("This idempotency key was used for another request.")
    return AlreadyDone(answer)


class InFlightKeys:
    """The keys that units of work of this process hold just now."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, actor: str, idempotency_key: IdempotencyKey | None) -> Iterator[None]:
        """Hold the key while the block runs. Raises `InFlight` if another one does."""
        if idempotency_key is None:
            yield
            return
        key = (actor, idempotency_key.key)
        if key in self._keys:
            raise InFlight(IN_FLIGHT)
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.remove(key)

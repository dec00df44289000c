"""Idempotency keys: a request that is sent again with its key is carried out once.

A client that lost the answer sends the request again with the same key. The answer was stored in the transaction of the
write. So either both are there, and the answer is given again, or neither is, and the work is done now.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from domain.entities import Entity
from domain.errors import Refusal
from domain.references import Subject

REMEMBERED_FOR: Final = timedelta(hours=24)
IN_FLIGHT: Final = "A request with this idempotency key is under way. Ask again shortly."


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """What a unit of work was committed with: its result, and the number of the last change that it wrote.

    `seq` is None if it wrote none, and on a dry run. `is_pending` if what was erased has not left the files yet.
    """

    result: T
    seq: int | None = None
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key, which belongs to its actor; a fingerprint of the whole request; and how to write its answer as text.

    `answer` is given what the unit of work was committed with: its result and the sequence number of its last change.
    """

    key: str
    fingerprint: str
    answer: Callable[[Committed[Any]], str]


NOBODY: Final[Subject] = ("nobody", 0)
"""What an answer is `about` that has no value of any entity. It is not erased before its time."""


def shown_by(committed: Committed[Any]) -> Subject:
    """The entity that an answer shows, or is `about`. The answer is erased with it. Raises `TypeError` without one."""
    shown: object = getattr(committed.result, "about", committed.result)
    if shown is NOBODY:
        return NOBODY
    if not isinstance(shown, Entity):
        raise TypeError("A unit of work with an idempotency key is committed with an entity.")
    return shown.kind, shown.id


class AlreadyDone(Exception):  # not an error: the answer
    """The request was carried out before. Has the stored answer."""

    def __init__(self, answer: str) -> None:
        super().__init__("This was done before.")
        self.answer = answer


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"


class InFlight(Refusal):
    code = "in_flight"


def replay(idempotency_key: IdempotencyKey, fingerprint: str, answer: str) -> AlreadyDone | IdempotencyKeyReused:
    """What to raise for a known key: the stored answer, if the request is the same."""
    if fingerprint != idempotency_key.fingerprint:
        return IdempotencyKeyReused("This idempotency key was used for another request.")
    return AlreadyDone(answer)


class InFlightKeys:
    """The keys of the units of work that are open in this process."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, actor: str, idempotency_key: IdempotencyKey | None) -> Iterator[None]:
        """Hold the key while the block runs. Raises `InFlight` if another unit holds it."""
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

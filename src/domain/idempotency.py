"""Idempotency keys: a request that is sent several times with the same key is carried out once.

A client that got no answer sends the request again with the same key. The answer is stored in the transaction of the
write. So either both are stored, and the stored answer is sent again, or neither is, and the request is carried out
now.
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
    """The result of a committed unit of work, and the number of the last change that it wrote.

    `seq` is None if it wrote no change, and in a dry run. `is_pending` says that erased values may still be in the
    files.
    """

    result: T
    seq: int | None = None
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key, a fingerprint of the whole request, and a function that writes the answer as text. A key belongs to its
    actor.

    `answer` gets the result of the unit of work and the number of its last change.
    """

    key: str
    fingerprint: str
    answer: Callable[[Committed[Any]], str]


NOBODY: Final[Subject] = ("nobody", 0)
"""The `about` of an answer that has no values of an entity. Such an answer is kept until it expires."""


def shown_by(committed: Committed[Any]) -> Subject:
    """The entity that an answer shows or is `about`. The answer is erased with this entity. Raises `TypeError` if there
    is none."""
    shown: object = getattr(committed.result, "about", committed.result)
    if shown is NOBODY:
        return NOBODY
    if not isinstance(shown, Entity):
        raise TypeError("A unit of work with an idempotency key is committed with an entity.")
    return shown.kind, shown.id


class AlreadyDone(Exception):  # not an error: the answer
    """The request was carried out before. It has the stored answer."""

    def __init__(self, answer: str) -> None:
        super().__init__("This was done before.")
        self.answer = answer


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"


class InFlight(Refusal):
    code = "in_flight"


def replay(idempotency_key: IdempotencyKey, fingerprint: str, answer: str) -> AlreadyDone | IdempotencyKeyReused:
    """The exception to raise for a known key: it has the stored answer if the request is the same."""
    if fingerprint != idempotency_key.fingerprint:
        return IdempotencyKeyReused("This idempotency key was used for another request.")
    return AlreadyDone(answer)


class InFlightKeys:
    """The keys of all units of work that are open in this process."""

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

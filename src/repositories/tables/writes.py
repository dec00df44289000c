"""What the writing methods of all stores share, in SQL and in memory: a refusal ends the unit of work."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from domain.errors import Refusal

P = ParamSpec("P")
T = TypeVar("T")


class WritingUnit(Protocol):
    def fail(self) -> None:
        """End the unit of work, so that nothing of it can be committed."""
        ...


class WritingStore(Protocol):
    @property
    def unit(self) -> WritingUnit: ...


W = TypeVar("W", bound=WritingStore)


def write(
    method: Callable[Concatenate[W, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[W, P], Coroutine[Any, Any, T]]:
    """Declares a method that writes. If it is refused, the unit ends, because PostgreSQL would refuse every further
    statement."""

    @wraps(method)
    async def written(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(self, *args, **kwargs)
        except Refusal:
            self.unit.fail()
            raise

    return written

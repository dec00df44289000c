"""Running a unit of work again when the database asks for it."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from domain.errors import Busy, Contended
from domain.work import UnitsOfWork

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS: Final = 5
"""How often a method runs at the most, the first time included."""


class Service(Protocol):
    @property
    def units(self) -> UnitsOfWork: ...


S = TypeVar("S", bound=Service)


def retry(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Awaitable[T]]:
    """Run a service method from its start while its unit of work is `Contended`; give up as `Busy`.

    Sound because a method is one unit of work: what a contended one did is undone. `Uncertain` is not run again.
    """

    @wraps(method)
    async def attempts(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                return await method(self, *args, **kwargs)
            except Contended:
                await self.units.pause(attempt)
        try:
            return await method(self, *args, **kwargs)
        except Contended as last:
            raise Busy("Too many requests change the same thing at once. Try again shortly.") from last

    return attempts

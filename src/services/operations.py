"""Operations: what a service offers. Each declares the scopes that it needs, and runs again when its unit is contended.

The scopes are checked for every way in: HTTP, the command line, another protocol. Routes check them early, by the same
declaration (`scopes_of`).
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from domain.errors import Busy, Conflict, Contended, Stale, Unreachable
from domain.keys import Scope, require_scopes
from domain.work import RequestContext, UnitsOfWork

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS: Final = 5
"""The most times that an operation runs, the first time included."""

SCOPES: Final = "required_scopes"
"""The attribute of a method that holds what it declares."""


class Retried(Protocol):
    @property
    def units(self) -> UnitsOfWork: ...


class ForRequest(Retried, Protocol):
    @property
    def context(self) -> RequestContext: ...


class Service:
    """What services are: operations on units of work, for the context of one request."""

    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context


R = TypeVar("R", bound=Retried)
S = TypeVar("S", bound=ForRequest)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def operation(*scopes: Scope, retries: bool = True) -> "Callable[[Method[S, P, T]], Method[S, P, T]]":
    """A public method of a service. Raises `Forbidden` unless the caller has all of these scopes.

    It is one unit of work, and is run again from its start while that is contended. An operation that calls several
    others does not retry, because they do.
    """

    def declare(method: "Method[S, P, T]") -> "Method[S, P, T]":
        run = retry(method) if retries else method

        @wraps(method)
        async def required(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            require_scopes(scopes, self.context.scopes)
            return await run(self, *args, **kwargs)

        setattr(required, SCOPES, scopes)
        return required

    return declare


Streaming = Callable[Concatenate[S, P], AsyncGenerator[T]]


def streaming(*scopes: Scope) -> "Callable[[Streaming[S, P, T]], Streaming[S, P, T]]":
    """The same for a method that gives its result in pieces. After the first one it is not run again: that may have
    been sent."""

    def declare(method: "Streaming[S, P, T]") -> "Streaming[S, P, T]":
        @retry
        async def begin(self: S, /, *args: P.args, **kwargs: P.kwargs) -> tuple[AsyncGenerator[T], list[T]]:
            pieces = method(self, *args, **kwargs)
            async for first in pieces:
                return pieces, [first]
            return pieces, []

        async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
            pieces, first = await begin(self, *args, **kwargs)
            async with aclosing(pieces):
                for piece in first:
                    yield piece
                async for piece in pieces:
                    yield piece

        @wraps(method)
        def required(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
            require_scopes(scopes, self.context.scopes)
            return run(self, *args, **kwargs)

        setattr(required, SCOPES, scopes)
        return required

    return declare


def scopes_of(method: Callable[..., Any]) -> tuple[Scope, ...]:
    """The scopes that an operation declares. Raises `AttributeError` for any other function."""
    declared: tuple[Scope, ...] = getattr(method, SCOPES)
    return declared


def retry(
    method: Callable[Concatenate[R, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[R, P], Coroutine[Any, Any, T]]:
    """Run a method again from its start while its unit of work is `Contended`. At last raise `Busy`, or `Unreachable`.

    This is correct because a method is one unit of work, and a contended unit was undone. `Uncertain` is not run again.
    """

    @wraps(method)
    async def attempts(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                return await method(self, *args, **kwargs)
            except Contended:
                await self.units.pause(attempt)
        try:
            return await method(self, *args, **kwargs)
        except Unreachable:
            raise
        except Contended as last:
            raise Busy("Too many requests change the same thing at once. Try again shortly.") from last

    return attempts


@contextmanager
def contended() -> Iterator[None]:
    """What another unit has taken or changed just now means: run again, and find what that unit stored."""
    try:
        yield
    except (Conflict, Stale) as taken:
        raise Contended("Another request is changing the same.") from taken

"""Operations: the public methods of services. Each declares the scopes that it needs, and runs again when it is
contended.

The scopes are checked for every caller: HTTP, SCIM, the command line. Routes also check them before they read a body,
by the same declaration (`scopes_of`).
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
"""The most times that an operation runs, including the first time."""

SCOPES: Final = "required_scopes"
"""The attribute of a method that holds its declared scopes."""


class Retried(Protocol):
    @property
    def units(self) -> UnitsOfWork: ...


class ForRequest(Retried, Protocol):
    @property
    def context(self) -> RequestContext: ...


class Service:
    """The base of services: operations on units of work, for the context of one request."""

    def __init__(self, units: UnitsOfWork, context: RequestContext) -> None:
        self.units = units
        self.context = context


R = TypeVar("R", bound=Retried)
S = TypeVar("S", bound=ForRequest)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def operation(*scopes: Scope, retries: bool = True) -> "Callable[[Method[S, P, T]], Method[S, P, T]]":
    """Declares a public method of a service. It raises `Forbidden` if the caller lacks one of these scopes.

    The method is one unit of work, and runs again from its start while it is contended. An operation that consists of
    other operations has `retries=False`, because each of these runs again by itself.
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
    """The same for a method that yields its result in pieces. After the first piece it is not run again, because that
    piece may have been sent."""

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
    """Run a method again from its start while it raises `Contended`. After `ATTEMPTS` runs, raise `Busy` or
    `Unreachable`.

    This is correct because a method is one unit of work, and a contended unit was undone. After `Uncertain` it is not
    run again.
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
    """Turns `Conflict` and `Stale` into `Contended`: another unit has just written the same. The next run finds what it
    stored."""
    try:
        yield
    except (Conflict, Stale) as taken:
        raise Contended("Another request is changing the same.") from taken

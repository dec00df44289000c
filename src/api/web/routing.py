"""Strict routes: they check the caller, and refuse unknown parameters and invalid bodies."""

import re
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, request_response
from starlette.types import Receive, Scope, Send

from api.web.access import SECURITY_SCHEME, Holds, as_granted, authorize
from api.web.calling import Call, can_call
from api.web.problems import documented
from api.web.requests import StrictRequest
from services.operations import scopes_of

Handler = Callable[[StrictRequest, Send], Awaitable[None]]
Sent = frozenset[str | bytes]
"""The declared parameters that were sent: names of query parameters (str) and of headers (bytes)."""

F = TypeVar("F", bound=Callable[..., Any])

HANDLERS_KEPT: Final = 64


class StrictRoute(APIRoute):
    holds: Holds = staticmethod(as_granted)
    """The scopes that a key has on these routes. Routes of another protocol may have another rule."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)  # so that `{key:path}` accepts line breaks
        self.app = self._answer
        self._queries, self._headers = frozenset(query_names(self.dependant)), frozenset(header_names(self.dependant))
        self._scopes = scopes_of(operation_of(self.endpoint))
        self._handler_of = lru_cache(HANDLERS_KEPT)(self._make_handler)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = StrictRequest(scope, receive)
        await authorize(request, self._scopes, self.holds)
        sent: set[str | bytes] = {name for name, _ in scope["headers"] if name in self._headers}
        if scope["query_string"]:
            sent.update(request.query_params)
            refuse_unknown_parameters(request, self._queries)
        if request.app.dependency_overrides:  # of this app only, while other apps of the process share the route
            await self._by_fastapi(frozenset(sent), request.app)(request, send)
        else:
            await self._handler_of(frozenset(sent))(request, send)

    def _make_handler(self, sent: Sent) -> Handler:
        """The handler for requests with these parameters. The other parameters get their defaults."""
        dependant = with_parameters(self.dependant, sent)
        if not can_call(dependant):
            return self._by_fastapi(sent)
        call = Call(dependant, embeds=self._embed_body_fields)

        async def handle(request: StrictRequest, send: Send) -> None:
            response = await call.answer(request)
            await response(request.scope, request.receive, send)

        return handle

    def _by_fastapi(self, sent: Sent, overrides: FastAPI | None = None) -> Handler:
        """The same with FastAPI's own handler. It spends about 10 µs on each declared parameter, even if it was not
        sent."""
        route = copy(self)
        route.dependant = with_parameters(self.dependant, sent)
        route.dependency_overrides_provider = overrides
        handler = route.get_route_handler()

        async def answer(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        app = request_response(answer)

        async def handle(request: StrictRequest, send: Send) -> None:
            await app(request.scope, request.receive, send)

        return handle


def with_parameters(dependant: Dependant, sent: Sent) -> Dependant:
    """A copy without the optional parameters that were not sent."""
    return replace(
        dependant,
        query_params=[each for each in dependant.query_params if each.alias in sent or is_required(each)],
        header_params=[each for each in dependant.header_params if wire_name(each) in sent or is_required(each)],
        dependencies=[with_parameters(each, sent) for each in dependant.dependencies],
    )


def query_names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from query_names(each)


def header_names(dependant: Dependant) -> Iterator[bytes]:
    yield from map(wire_name, dependant.header_params)
    for each in dependant.dependencies:
        yield from header_names(each)


def wire_name(header: Any) -> bytes:
    name: str = header.alias
    return name.lower().encode()


def is_required(parameter: Any) -> bool:
    return bool(parameter.field_info.is_required())


def refuse_unknown_parameters(request: Request, known: frozenset[str]) -> None:
    """Refuse unknown parameters. If a misspelled filter was ignored, the answer would be all users."""
    if unknown := sorted(set(request.query_params) - known):
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "There is no such parameter."}
                for name in unknown
            ]
        )


CALLS: Final = "called_operation"


def calls(operation: Callable[..., Any]) -> Callable[[F], F]:
    """Declares the operation of a service that a route calls. The route needs the scopes of that operation."""

    scopes_of(operation)

    def note(endpoint: F) -> F:
        setattr(endpoint, CALLS, operation)
        return endpoint

    return note


def operation_of(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The operation that a route calls. Raises `TypeError` if the route does not declare it."""
    operation: Callable[..., Any] | None = getattr(endpoint, CALLS, None)
    if operation is None:
        raise TypeError(f"{endpoint.__name__} does not declare the operation that it calls: @calls(...)")
    return operation


def operation_id(route: APIRoute) -> str:
    """The name of the method in a generated client. It is the name of the function."""
    return route.name


class Router(APIRouter):
    """A router of strict routes. Collections are served with and without a slash, `/users/` and `/users`, without a
    redirect."""

    def __init__(self, prefix: str, tag: str) -> None:
        super().__init__(prefix=prefix, tags=[tag], route_class=StrictRoute, generate_unique_id_function=operation_id)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        security = [{SECURITY_SCHEME: list(scopes_of(operation_of(endpoint)))}]
        options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "security": security}
        options["responses"] = {**documented(401, 403, 429), **(options.get("responses") or {})}
        super().add_api_route(path, endpoint, **options)
        if path.endswith("/"):
            super().add_api_route(path.removesuffix("/"), endpoint, **{**options, "include_in_schema": False})

"""Routes that are strict: about who calls, and about parameters, media types, sizes, slow and odd bodies."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine, Iterator
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError
from starlette.exceptions import HTTPException

from api.access import SECURITY_SCHEME, admit, scope_of
from api.problems import documented

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_TIMEOUT_S: Final = 20
"""How long a body may take to arrive in full."""

MAX_DEPTH: Final = 64
"""How many levels a body may nest; the domain allows fewer where it knows more."""

JSON_TYPE: Final = "application/json"
MERGE_PATCH_TYPE: Final = "application/merge-patch+json"

DIGITS: Final = re.compile("-?(0|[1-9][0-9]*)")


class StrictRequest(Request):
    async def body(self) -> bytes:
        """The body, within the bounds of size and time, of a media type that the method takes."""
        if not hasattr(self, "_body"):
            self._body = await self._bounded_body()
            if self._body:
                self._refuse_other_media_types()
        return self._body

    async def _bounded_body(self) -> bytes:
        if int(self.headers.get("content-length", 0)) > MAX_BODY_BYTES:
            raise HTTPException(413, f"A body holds at most {MAX_BODY_BYTES} bytes.")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._read()
        except TimeoutError as error:
            raise HTTPException(408, "The body took too long to arrive.") from error

    async def _read(self) -> bytes:
        body = bytearray()
        async for chunk in self.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, f"A body holds at most {MAX_BODY_BYTES} bytes.")
        return bytes(body)

    def _refuse_other_media_types(self) -> None:
        taken = (MERGE_PATCH_TYPE, JSON_TYPE) if self.method == "PATCH" else (JSON_TYPE,)
        sent = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent not in taken:
            header = "Accept-Patch" if self.method == "PATCH" else "Accept"  # RFC 5789, RFC 9110 section 15.5.16
            raise HTTPException(415, f"Send {' or '.join(taken)}.", {header: ", ".join(taken)})

    async def json(self) -> Any:
        """The body as JSON, as RFC 8259 has it: UTF-8, without NaN and Infinity, no name twice in an object."""
        try:
            return no_deeper(
                json.loads(
                    (await self.body()).decode(),
                    object_pairs_hook=unique_members,
                    parse_constant=refuse_constant,
                    parse_float=finite,
                )
            )
        except json.JSONDecodeError as error:
            raise HTTPException(400, f"The body is not JSON: {error.msg} at character {error.pos}.") from error
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"The body is not UTF-8, from byte {error.start}.") from error
        except RecursionError as error:
            raise HTTPException(400, "The body nests too deep.") from error
        except OddJsonError as error:
            raise HTTPException(400, str(error)) from error
        except ValueError as error:  # an integer of thousands of digits
            raise HTTPException(400, "The body holds a number that is too long.") from error


class OddJsonError(ValueError):
    """JSON that Python would take and others would not, or not in the same way."""


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise OddJsonError("An object of the body has a member twice.")
    return members


def refuse_constant(name: str) -> float:
    raise OddJsonError(f"The body holds {name}, which is not JSON.")


def finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise OddJsonError("The body holds a number beyond the range of numbers.")
    return number


def no_deeper(document: Any) -> Any:
    """The document, if what works on it by recursion is safe with it."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return document
        level = [member for each in nested for member in (each.values() if isinstance(each, dict) else each)]
    raise OddJsonError("The body nests too deep.")


def one_spelling(text: object) -> object:
    if isinstance(text, str) and not DIGITS.fullmatch(text):
        raise PydanticKnownError("int_parsing")
    return text


PlainInteger = BeforeValidator(one_spelling)
"""Refuses what pydantic would take for an integer as well: `+1`, `1.0`, `01`, ` 1`, `1_0`, a line break behind it.

Stands behind the bounds, `Annotated[int, Field(ge=1), PlainInteger]`: before it, they are missing in the schema."""


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Sent = frozenset[str | bytes]
"""What a request has of what its route knows: query parameters by their names, headers by theirs, as on the wire."""

HANDLERS_KEPT: Final = 64


class StrictRoute(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)  # `{key:path}` takes line breaks as well

    def get_route_handler(self) -> Handler:
        queries, headers = frozenset(query_names(self.dependant)), frozenset(header_names(self.dependant))
        scope = scope_of(self.endpoint)
        handler_of = lru_cache(HANDLERS_KEPT)(self._handler_of)

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            await admit(strict, scope)
            sent: set[str | bytes] = {name for name, _ in request.scope["headers"] if name in headers}
            if request.scope["query_string"]:
                sent.update(strict.query_params)
                refuse_unknown_parameters(strict, queries)
            return await handler_of(frozenset(sent))(strict)

        return handle_strictly

    def _handler_of(self, sent: Sent) -> Handler:
        """FastAPI's handler for requests that sent these parameters, and leave the others to the function's defaults.

        FastAPI spends some 8 µs on each parameter that a route declares, sent or not: a fifth of a GET by id, and a
        quarter of a list, which has twelve.
        """
        route = copy(self)
        route.dependant = with_parameters(self.dependant, sent)
        return super(StrictRoute, route).get_route_handler()


def with_parameters(dependant: Dependant, sent: Sent) -> Dependant:
    """The same without the optional parameters that were not sent."""
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
    """A typo must be loud: a filter that is passed over would answer with everyone."""
    if unknown := sorted(set(request.query_params) - known):
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": "No such parameter."} for name in unknown]
        )


def operation_id(route: APIRoute) -> str:
    """What a generated client calls the method: as the function here is called."""
    return route.name


class Router(APIRouter):
    """Strict routes; a collection's are served under both spellings, `/users/` and `/users`, without a redirect."""

    def __init__(self, prefix: str, tag: str) -> None:
        super().__init__(prefix=prefix, tags=[tag], route_class=StrictRoute, generate_unique_id_function=operation_id)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        security = [{SECURITY_SCHEME: [scope_of(endpoint)]}]
        options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "security": security}
        options["responses"] = {**documented(401, 403, 429), **(options.get("responses") or {})}
        super().add_api_route(path, endpoint, **options)
        if path.endswith("/"):
            super().add_api_route(path.removesuffix("/"), endpoint, **{**options, "include_in_schema": False})

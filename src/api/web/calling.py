"""Calls endpoints with the values of their parameters, as FastAPI does, at a fraction of the cost.

FastAPI's own handler serves every kind of route, and looks at each request again for what the route declares: that is a
quarter of the CPU of a GET. A `Call` looks at this once. It only knows what Roster's routes use. All other routes, such
as those with a dependency that yields, are called by FastAPI: `can_call` says which.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from inspect import iscoroutinefunction
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from fastapi import Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_body_to_args, request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from starlette.exceptions import HTTPException

from api.web.requests import StrictRequest

Faults = list[Any]

STRUCTURED: Final = (Sequence, AbstractSet, Mapping, BaseModel)
"""Types of parameters that FastAPI puts together from several values. Text is a sequence too, but one value."""


def can_call(dependant: Dependant) -> bool:
    """Whether a `Call` can take the place of FastAPI's handler for an endpoint."""
    returned = getattr(dependant.call, "__annotations__", {}).get("return")
    return (
        isinstance(returned, type)
        and issubclass(returned, Response)
        and is_known(dependant)
        and not any(isinstance(field.field_info, Form) for field in dependant.body_params)
        and all(is_known(each) and not (each.dependencies or each.body_params) for each in dependant.dependencies)
        and len({each.call for each in dependant.dependencies}) == len(dependant.dependencies)
    )


def is_known(dependant: Dependant) -> bool:
    call: Any = dependant.call
    return (iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__)) and not (
        dependant.cookie_params
        or dependant.websocket_param_name
        or dependant.http_connection_param_name
        or dependant.response_param_name
        or dependant.background_tasks_param_name
        or dependant.security_scopes_param_name
        or dependant.concurrency
    )


class Parameter:
    """A parameter in the path, the query or the headers."""

    def __init__(self, field: Any) -> None:
        self._field = field
        self._alias: str = field.alias
        self._place = (field.field_info.in_.value, field.alias)
        self._is_plain = is_plain(field.field_info.annotation)

    def take(self, received: Mapping[str, Any], values: dict[str, Any], faults: Faults) -> None:
        """Add its value to the values, or what is wrong with it to the faults."""
        text = received.get(self._alias) if self._is_plain else None
        if text is None:
            found, wrong = request_params_to_args([self._field], received)
            values.update(found)
        else:
            values[self._field.name], wrong = self._field.validate(text, values, loc=self._place)
        faults += wrong


def is_plain(annotation: Any) -> bool:
    """Whether a parameter has one value."""
    types = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return all(isinstance(each, type) and (issubclass(each, str) or not issubclass(each, STRUCTURED)) for each in types)


class Call:
    """A call of one endpoint, or of one of its dependencies."""

    def __init__(self, dependant: Dependant, *, embeds: bool = False) -> None:
        self.name = dependant.name
        self.run: Any = dependant.call
        self._request_name = dependant.request_param_name
        self._path = [Parameter(field) for field in dependant.path_params]
        self._query = [Parameter(field) for field in dependant.query_params]
        self._headers = [Parameter(field) for field in dependant.header_params]
        self._body = dependant.body_params
        self._embeds = embeds
        self._dependencies = [Call(each) for each in dependant.dependencies]

    async def answer(self, request: StrictRequest) -> Response:
        """Call the endpoint. Raises `RequestValidationError` with everything that is wrong with the request."""
        body = await body_of(request) if self._body else PydanticUndefined
        faults: Faults = []
        values = await self.values_from(request, faults)
        if self._body:
            found, wrong = await request_body_to_args(self._body, body, self._embeds)
            values.update(found)
            faults += wrong
        if faults:
            raise RequestValidationError(faults)
        answer: Response = await self.run(**values)
        return answer

    async def values_from(self, request: StrictRequest, faults: Faults) -> dict[str, Any]:
        """The values of the parameters, by name. Adds what is wrong to the faults."""
        values: dict[str, Any] = {}
        for each in self._dependencies:
            wrong: Faults = []
            own = await each.values_from(request, wrong)
            faults += wrong
            result = None if wrong else await each.run(**own)
            if each.name is not None:
                values[each.name] = result
        for parameter in self._path:
            parameter.take(request.path_params, values, faults)
        for parameter in self._query:
            parameter.take(request.query_params, values, faults)
        for parameter in self._headers:
            parameter.take(request.headers, values, faults)
        if self._request_name:
            values[self._request_name] = request
        return values


async def body_of(request: StrictRequest) -> Any:
    """The body as JSON. `StrictRequest` has checked its media type."""
    try:
        return await request.json() if await request.body() else PydanticUndefined
    except HTTPException:
        raise
    except Exception as error:  # as FastAPI does: the client has left, for example
        raise HTTPException(400, "There was an error parsing the body") from error

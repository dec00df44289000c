"""Endpoints are called with the same values as by FastAPI. Unsupported ones are left to FastAPI."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import pytest
from dependency_injector import providers
from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings
from api.web.calling import can_call
from api.web.routing import StrictRoute
from repositories.fake import MemoryUnitsOfWork

JSON: Final = {"content-type": "application/json"}
REQUESTS: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("GET", "/users/1", {}),
    ("GET", "/users/1", {"headers": {"if-none-match": '"1"'}}),
    ("GET", "/users/1", {"headers": {"if-none-match": "x" * 1001, "roster-min-seq": "0"}}),
    ("GET", "/users/1", {"headers": {"roster-min-seq": "one"}}),
    ("GET", "/users/1?fields=name", {}),
    ("GET", "/users/1?fields=nothing", {}),
    ("GET", "/users/one", {}),
    ("GET", "/users/+1?fields=name", {}),
    ("GET", "/users/0?unknown=1", {}),
    ("GET", "/users/?limit=0&limit=1", {}),
    ("GET", "/users/?limit=0&count=perhaps&deleted=&formulas=some&status=gone", {}),
    ("GET", "/users/?limit=1&count=true&formulas=keep&status=active", {}),
    ("GET", "/users/", {"headers": [("accept", "text/csv;q=0.1"), ("accept", "application/json")]}),
    ("GET", "/users/by/email/alice@example.org", {}),
    ("GET", "/users/by/nothing/alice", {}),
    ("POST", "/users/?dry_run=true", {"json": {"name": "Bob"}}),
    ("POST", "/users/?dry_run=perhaps", {"json": {"name": "", "nickname": 1}, "headers": {"idempotency-key": "short"}}),
    ("POST", "/users/", {}),
    ("POST", "/users/", {"content": b"null", "headers": JSON}),
    ("POST", "/users/", {"content": b"[]", "headers": JSON}),
    ("POST", "/users/", {"content": b"{", "headers": JSON}),
    ("POST", "/users/", {"content": b'{"name": "Bob"}', "headers": {"content-type": "text/plain"}}),
    ("PATCH", "/users/1?dry_run=true", {"json": {"name": None, "status": "gone"}}),
    ("PATCH", "/users/1?dry_run=true", {"json": {"name": "Bob"}, "headers": {"if-match": '"2"'}}),
    ("PUT", "/users/by/external-id/a", {"json": {"name": "A", "external_id": "b"}}),
    ("DELETE", "/users/one?purge=maybe", {}),
    ("GET", "/changes/?since=-1&limit=1001&wait=31", {}),
    ("POST", "/groups/one/members/", {"json": {"add": ["one"]}}),
]  # fmt: skip


@pytest.fixture
async def app() -> FastAPI:
    units = MemoryUnitsOfWork()
    app = create_app(Container(settings=providers.Object(Settings()), units=providers.Object(units)), open_locally=True)
    await ask(app, "POST", "/users/", json={"name": "Alice", "email": "alice@example.org"})
    return app


async def ask(app: FastAPI, method: str, path: str, **options: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        answer = await client.request(
            method, path, headers={"x-request-id": "r", **dict(options.pop("headers", {}))}, **options
        )
    return answer.status_code, answer.content, sorted(answer.headers.items())


@pytest.mark.parametrize(("method", "path", "options"), REQUESTS, ids=lambda each: str(each)[:60])
async def test_every_request_gets_the_same_answer_as_from_the_handler_of_fastapi(
    app: FastAPI, method: str, path: str, options: dict[str, Any]
) -> None:
    answer = await ask(app, method, path, **options)
    app.dependency_overrides[known] = known  # an app with overrides leaves its routes to FastAPI
    assert answer == await ask(app, method, path, **options)


def test_no_route_of_roster_needs_the_handler_of_fastapi(in_memory: Container) -> None:
    served = [route for route in create_app(in_memory).router.routes if isinstance(route, StrictRoute)]
    assert served
    assert [route.name for route in served if not can_call(route.dependant)] == []


async def known(request: Request) -> str:
    return request.method


async def yields() -> AsyncIterator[None]:
    yield


async def plain(request: Request, name: str, it: Annotated[str, Depends(known)]) -> Response:
    return Response()


async def with_model() -> dict[str, str]:
    return {}


def in_a_thread() -> Response:
    return Response()


async def with_cookie(cookie: Annotated[str, Cookie()]) -> Response:
    return Response()


async def with_response(response: Response) -> Response:
    return Response()


async def with_tasks(tasks: BackgroundTasks) -> Response:
    return Response()


async def with_yield(it: Annotated[None, Depends(yields)]) -> Response:
    return Response()


async def with_thread(it: Annotated[None, Depends(in_a_thread)]) -> Response:
    return Response()


async def needs(it: Annotated[str, Depends(known)]) -> str:
    return it


async def with_depth(it: Annotated[str, Depends(needs)]) -> Response:
    return Response()


async def twice(one: Annotated[str, Depends(known)], two: Annotated[str, Depends(known)]) -> Response:
    return Response()


def test_an_ordinary_endpoint_can_be_called() -> None:
    assert can_call(APIRoute("/", plain, response_model=None).dependant)


@pytest.mark.parametrize(
    "endpoint",
    [
        with_model,
        in_a_thread,
        with_cookie,
        with_response,
        with_tasks,
        with_yield,
        with_thread,
        with_depth,
        twice,
    ],
)
def test_unsupported_endpoints_are_left_to_fastapi(endpoint: Any) -> None:
    assert not can_call(APIRoute("/", endpoint, response_model=None).dependant)

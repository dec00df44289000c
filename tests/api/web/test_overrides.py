"""Dependencies can be overridden as FastAPI documents it, in one app and in no other of the process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings
from api.users import users_to_read, users_to_write
from domain.errors import Busy
from domain.pages import Page
from repositories.fake import MemoryUnitsOfWork
from services.users import UserService


def new_app() -> FastAPI:
    container = Container(settings=providers.Object(Settings()), units=providers.Object(MemoryUnitsOfWork()))
    return create_app(container, open_locally=True)


def client_of_app(app: FastAPI) -> AbstractAsyncContextManager[AsyncClient]:
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost")


@pytest.fixture
async def apps() -> AsyncIterator[tuple[FastAPI, AsyncClient, FastAPI, AsyncClient]]:
    """Two apps, each with a client, and Alice in the directory of each."""
    one, other = new_app(), new_app()
    async with AsyncExitStack() as open_clients:
        clients = [await open_clients.enter_async_context(client_of_app(app)) for app in (one, other)]
        for client in clients:
            assert (await client.post("/users/", json={"name": "Alice"})).status_code == 201
        yield one, clients[0], other, clients[1]


@pytest.fixture
async def overridden(apps: tuple[FastAPI, AsyncClient, FastAPI, AsyncClient]) -> tuple[FastAPI, AsyncClient]:
    return apps[0], apps[1]


class NobodyThere(UserService):
    def __init__(self) -> None: ...

    async def count(self, filter: Any = None) -> int:
        return 4711

    async def list(self, **_: Any) -> Page[Any]:
        return Page.of([], 1)


async def counted(client: AsyncClient, path: str) -> str:
    answer = await client.get(path, params={"count": "true"})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Total-Count"]


async def test_an_override_takes_effect_in_its_app_only_and_ends_when_it_is_taken_back(
    apps: tuple[FastAPI, AsyncClient, FastAPI, AsyncClient],
) -> None:
    app, one, _, other = apps
    app.dependency_overrides[users_to_read] = NobodyThere

    for path in ("/users/", "/users"):  # interleaved: nothing of one is kept for the other
        assert (await counted(one, path), await counted(other, path)) == ("4711", "1")

    app.dependency_overrides.clear()
    assert (await counted(one, "/users/"), await counted(other, "/users/")) == ("1", "1")


async def test_an_override_takes_effect_on_a_route_that_was_asked_before(
    overridden: tuple[FastAPI, AsyncClient],
) -> None:
    app, client = overridden
    assert await counted(client, "/users/") == "1"

    app.dependency_overrides[users_to_read] = NobodyThere

    assert await counted(client, "/users/") == "4711"


async def test_two_apps_are_overridden_each_in_its_own_way(
    apps: tuple[FastAPI, AsyncClient, FastAPI, AsyncClient],
) -> None:
    class OthersThere(NobodyThere):
        async def count(self, filter: Any = None) -> int:
            return 2

    one, one_client, other, other_client = apps
    one.dependency_overrides[users_to_read] = NobodyThere
    other.dependency_overrides[users_to_read] = OthersThere

    assert (await counted(one_client, "/users/"), await counted(other_client, "/users/")) == ("4711", "2")


async def test_an_override_of_what_reads_is_none_of_what_writes(overridden: tuple[FastAPI, AsyncClient]) -> None:
    app, client = overridden
    app.dependency_overrides[users_to_read] = NobodyThere

    assert (await client.post("/users/", json={"name": "Bob"})).json() == {"id": 2, "name": "Bob"}


async def test_an_override_of_what_writes_leaves_parameters_as_they_are(
    overridden: tuple[FastAPI, AsyncClient],
) -> None:
    app, client = overridden
    asked: list[str] = []

    class Recorder(UserService):
        def __init__(self) -> None: ...

        async def create(self, new: Any) -> Any:
            asked.append(new.name)
            raise Busy("Not now.")

    app.dependency_overrides[users_to_write] = Recorder
    answer = await client.post("/users/", params={"fields": "id"}, json={"name": "Bob"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert asked == ["Bob"]
    refused = await client.post("/users/", params={"field": "id"}, json={"name": "Bob"})
    assert refused.json()["errors"][0]["pointer"] == "/query/field"
    tried = await client.post("/users/", params={"dry_run": "true", "fields": "id"}, json={"name": "Bob"})
    assert (tried.status_code, asked) == (503, ["Bob", "Bob"])
    refused = await client.post("/users/", params={"dry_runn": "true"}, json={"name": "Bob"})
    assert refused.json()["errors"][0]["pointer"] == "/query/dry_runn"


async def test_an_override_is_no_way_around_keys(overridden: tuple[FastAPI, AsyncClient]) -> None:
    app, client = overridden
    app.dependency_overrides[users_to_read] = NobodyThere
    key = {"name": "writer", "scopes": ["users:write"]}
    secret = (await client.post("/keys/", json=key)).json()["secret"]

    assert (await client.get("/users/")).status_code == 401
    refused = await client.get("/users/", headers={"authorization": f"Bearer {secret}"})
    assert (refused.status_code, refused.json()["detail"]) == (403, "This needs the scope users:read.")


async def faults(client: AsyncClient) -> dict[str, str]:
    refused = await client.patch(
        "/users/0", params={"dry_run": "perhaps"}, headers={"If-Match": "x" * 1001}, json={"nam": "Alice"}
    )
    assert refused.status_code == 422
    return {error["pointer"]: error["code"] for error in refused.json()["errors"]}


@pytest.mark.parametrize("override", [{}, {users_to_read: NobodyThere}], ids=["plain", "overridden"])
async def test_faults_of_every_part_of_a_request_are_told_together(
    overridden: tuple[FastAPI, AsyncClient], override: dict[Callable[..., Any], Callable[..., Any]]
) -> None:
    app, client = overridden
    app.dependency_overrides.update(override)

    assert await faults(client) == {
        "/query/dry_run": "wrong_type",
        "/header/if-match": "too_long",
        "/path/id": "out_of_range",
        "/body/nam": "unknown",
    }


@pytest.mark.parametrize("override", [{}, {users_to_read: NobodyThere}], ids=["plain", "overridden"])
async def test_a_refusal_of_a_parameter_says_that_the_run_was_dry(
    overridden: tuple[FastAPI, AsyncClient], override: dict[Callable[..., Any], Callable[..., Any]]
) -> None:
    app, client = overridden
    app.dependency_overrides.update(override)

    refused = await client.patch("/users/1", params={"dry_run": "true"}, headers={"If-Match": "x" * 1001}, json={})

    assert (refused.status_code, refused.headers["Dry-Run"]) == (422, "true")

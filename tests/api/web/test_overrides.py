"""Dependencies can be overridden as FastAPI documents it, in one app without effect on others in the process."""

from typing import Any

import pytest
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response

from api.app import create_app
from api.container import Container
from api.settings import Settings
from api.users import users_to_read, users_to_write
from domain.errors import Busy
from domain.lists.pages import JsonPage
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.users import UserService


def new_app() -> FastAPI:
    container = Container(settings=providers.Object(Settings()), units=providers.Object(MemoryUnitsOfWork()))
    return create_app(container, open_locally=True)


async def ask(app: FastAPI, method: str, path: str, **options: Any) -> Response:
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        return await client.request(method, path, **options)


class NobodyThere(UserService):
    def __init__(self) -> None:
        self.context = RequestContext(actor="nobody", request_id="r1")

    async def count(self, filter: Any = None, **_: Any) -> int:
        return 4711

    async def list_as_json(self, *_: Any, **__: Any) -> JsonPage:
        return JsonPage([], None)


async def test_an_override_takes_effect_in_its_app_only_until_it_is_removed() -> None:
    one, other = new_app(), new_app()
    for app in (one, other):
        assert (await ask(app, "POST", "/users/", json={"name": "Alice"})).status_code == 201
    one.dependency_overrides[users_to_read] = NobodyThere

    for path in ("/users/", "/users"):  # one after the other: nothing of one app is kept for the other
        asked = {"params": {"count": "true"}}
        assert (await ask(one, "GET", path, **asked)).headers["X-Total-Count"] == "4711"
        assert (await ask(other, "GET", path, **asked)).headers["X-Total-Count"] == "1"

    one.dependency_overrides.clear()
    assert (await ask(one, "GET", "/users/", params={"count": "true"})).headers["X-Total-Count"] == "1"


async def test_an_override_takes_effect_on_a_route_that_was_called_before() -> None:
    app, asked = new_app(), {"params": {"count": "true"}}
    assert (await ask(app, "GET", "/users/", **asked)).headers["X-Total-Count"] == "0"

    app.dependency_overrides[users_to_read] = NobodyThere

    assert (await ask(app, "GET", "/users/", **asked)).headers["X-Total-Count"] == "4711"


async def test_two_apps_can_have_different_overrides() -> None:
    class TwoThere(NobodyThere):
        async def count(self, filter: Any = None, **_: Any) -> int:
            return 2

    one, other = new_app(), new_app()
    one.dependency_overrides[users_to_read] = NobodyThere
    other.dependency_overrides[users_to_read] = TwoThere

    for app, count in ((one, "4711"), (other, "2"), (one, "4711")):
        assert (await ask(app, "GET", "/users/", params={"count": "true"})).headers["X-Total-Count"] == count


async def test_an_override_of_reads_does_not_change_writes() -> None:
    app = new_app()
    app.dependency_overrides[users_to_read] = NobodyThere

    created = await ask(app, "POST", "/users/", json={"name": "Alice"})

    assert (created.status_code, created.json()) == (201, {"id": 1, "name": "Alice"})


async def test_an_override_of_a_write_does_not_change_parameters() -> None:
    app = new_app()
    asked: list[str] = []

    class Recorder(UserService):
        def __init__(self) -> None: ...

        async def create(self, new: NewUser) -> Any:
            asked.append(new.name)
            raise Busy("Not now.")

    app.dependency_overrides[users_to_write] = Recorder
    answer = await ask(app, "POST", "/users/", params={"dry_run": "true", "fields": "id"}, json={"name": "Alice"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert asked == ["Alice"]
    refused = await ask(app, "POST", "/users/", params={"dry_runn": "true"}, json={"name": "Alice"})
    assert refused.json()["errors"][0]["pointer"] == "/query/dry_runn"
    assert asked == ["Alice"]


async def test_an_override_admits_nobody_without_a_key() -> None:
    app = new_app()
    app.state.open_locally = False
    app.dependency_overrides[users_to_read] = NobodyThere

    assert (await ask(app, "GET", "/users/")).status_code == 401


async def test_faults_of_all_parts_of_a_request_are_reported_together() -> None:
    refused = await ask(
        new_app(),
        "PATCH",
        "/users/0",
        params={"dry_run": "perhaps"},
        headers={"If-Match": "x" * 1001},
        json={"nam": "Alice"},
    )
    assert {error["pointer"]: error["code"] for error in refused.json()["errors"]} == {
        "/query/dry_run": "wrong_type",
        "/header/if-match": "too_long",
        "/path/id": "out_of_range",
        "/body/nam": "unknown",
    }


async def test_a_refused_parameter_of_a_dry_run_has_the_header_of_dry_runs() -> None:
    refused = await ask(
        new_app(), "PATCH", "/users/1", params={"dry_run": "true"}, headers={"If-Match": "x" * 1001}, json={}
    )
    assert (refused.status_code, refused.headers["Dry-Run"]) == (422, "true")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_override_gets_the_parameters_that_it_declares(dry_run: bool) -> None:
    """As in any FastAPI app, the replacement of a dependency is a dependency itself."""
    app = new_app()
    given: list[bool] = []

    def recorded(dry_run: bool = False) -> NobodyThere:
        given.append(dry_run)
        return NobodyThere()

    app.dependency_overrides[users_to_write] = recorded
    for params in ({"dry_run": dry_run}, {}):
        await ask(app, "POST", "/users/", params=params, json={"name": " "})

    assert given == [dry_run, False]

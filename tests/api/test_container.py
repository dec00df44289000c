"""How the parts are put together: each can be built and replaced, and two apps share nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers

from api.container import Container
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.users import UserService

WHO = RequestContext(actor="tester", request_id="r1")
SERVICES = {
    name
    for name, provider in Container.providers.items()
    if isinstance(provider, providers.Factory) and provider.provides.__module__.startswith("services")
}


@pytest.mark.parametrize("name", Container.providers)
async def test_every_part_can_be_built(name: str, container_at: Callable[[str], Container], sqlite_url: str) -> None:
    container = container_at(sqlite_url)
    needed = {**dict.fromkeys(SERVICES, WHO), "copies": container.database()}

    assert container.providers[name](*[needed[name]] if name in needed else []) is not None


def test_these_tests_find_the_services() -> None:
    assert {"users", "changes"} <= SERVICES


async def test_two_apps_in_one_process_stay_apart(
    tmp_path: Path, container_at: Callable[[str], Container], client_of: Callable[[Container], Any]
) -> None:
    left, right = (container_at(f"sqlite:///{tmp_path}/{name}.db") for name in ("left", "right"))

    async with client_of(left) as lefts, client_of(right) as rights:
        await lefts.post("/users/", json={"name": "Alice"})
        await rights.post("/users/", json={"name": "Bob"})
        await rights.post("/users/", json={"name": "Carol"})

        assert (await lefts.get("/users/")).json() == [{"id": 1, "name": "Alice"}]
        assert (await rights.get("/users/")).json() == [{"id": 1, "name": "Bob"}, {"id": 2, "name": "Carol"}]
        assert len((await lefts.get("/changes/")).json()) == 1


async def test_an_app_keeps_working_when_another_one_ends(
    tmp_path: Path, container_at: Callable[[str], Container], client_of: Callable[[Container], Any]
) -> None:
    left, right = (container_at(f"sqlite:///{tmp_path}/{name}.db") for name in ("left", "right"))

    async with client_of(right) as rights:
        async with client_of(left) as lefts:
            await lefts.post("/users/", json={"name": "Alice"})
        await rights.post("/users/", json={"name": "Bob"})

        assert (await rights.get("/users/")).json() == [{"id": 1, "name": "Bob"}]


async def test_a_part_is_replaced_when_the_container_is_built(client_of: Callable[[Container], Any]) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    units = MemoryUnitsOfWork(lambda: noon)

    async with client_of(Container(units=providers.Object(units))) as client:
        created = await client.post("/users/?fields=created_at", json={"name": "Alice"})

    assert created.json() == {"created_at": "2026-01-01T12:00:00Z"}
    assert created.headers["last-modified"] == "Thu, 01 Jan 2026 12:00:00 GMT"


async def test_a_service_is_replaced_by_one_that_extends_it(
    in_memory: Container, client_of: Callable[[Container], Any]
) -> None:
    class Polite(UserService):
        async def create(self, new: Any, **options: Any) -> Any:
            return await super().create(type(new)(name=f"Dear {new.name}"), **options)

    in_memory.users.override(providers.Factory(Polite, in_memory.units))
    async with client_of(in_memory) as client:
        created = await client.post("/users/", json={"name": "Alice"})

    assert created.json()["name"] == "Dear Alice"

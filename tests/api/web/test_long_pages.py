"""Long pages: read and written in steps, between which others are served, and ended early when they have many bytes."""

from typing import Any

import pytest
from dependency_injector import providers
from httpx2 import AsyncClient

import api.web.lists
from api.container import Container
from domain.limits import Limits
from services.users import UserService


async def create_large(client: AsyncClient, number: int) -> None:
    for each in range(number):
        body = {"name": f"U{each}", "attributes": {"long": "x" * 10_000}}
        assert (await client.post("/users/", json=body)).status_code == 201


async def pages_of(client: AsyncClient, url: str) -> list[list[int]]:
    pages = []
    while True:
        page = await client.get(url)
        pages.append([user["id"] for user in page.json()])
        if "next" not in page.links:
            return pages
        url = str(page.links["next"]["url"])


@pytest.mark.parametrize("sort", ["id", "-name"])
async def test_a_page_of_large_users_ends_early_and_links_to_the_next(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, in_memory: Container, sort: str
) -> None:
    monkeypatch.setattr(api.web.lists, "FEW", 3)
    limited = in_memory.settings().model_copy(update={"limits": Limits(page_bytes=50_000)})
    in_memory.settings.override(providers.Object(limited))
    await create_large(client, 14)

    pages = await pages_of(client, f"/users/?limit=12&sort={sort}")

    assert [len(page) for page in pages] == [6, 6, 2]  # in steps of 3: the second reaches the bound
    order = range(1, 15) if sort == "id" else sorted(range(1, 15), key=lambda each: f"u{each - 1}", reverse=True)
    assert [id for page in pages for id in page] == list(order)


async def test_a_long_page_of_small_users_is_whole(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.web.lists, "FEW", 3)
    for number in range(10):
        await client.post("/users/", json={"name": f"U{number}"})

    assert await pages_of(client, "/users/?limit=10") == [list(range(1, 11))]
    assert await pages_of(client, "/users/?limit=7") == [list(range(1, 8)), [8, 9, 10]]
    assert await pages_of(client, '/users/?limit=3&filter=name co "none"') == [[]]


async def test_other_requests_are_served_between_the_steps_of_a_long_page(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.web.lists, "FEW", 2)
    limits: list[int] = []
    list_users = UserService.list_as_json

    async def noted(self: UserService, shown: Any, **asked: Any) -> Any:
        limits.append(asked["limit"])
        return await list_users(self, shown, **asked)

    monkeypatch.setattr(UserService, "list_as_json", noted)
    for number in range(5):
        await client.post("/users/", json={"name": f"U{number}"})
    await client.get("/users/?limit=5")
    assert limits == [2, 2, 1]

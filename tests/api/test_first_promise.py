"""The first promise, byte for byte."""

import pytest
from httpx2 import AsyncClient


@pytest.mark.parametrize("path", ["/users/", "/users"])
async def test_the_first_user_is_created_and_listed(database_client: AsyncClient, path: str) -> None:
    created = await database_client.post(path, json={"name": "Alice"})
    listed = await database_client.get(path)

    assert (created.status_code, created.content) == (201, b'{"id":1,"name":"Alice"}')
    assert (listed.status_code, listed.content) == (200, b'[{"id":1,"name":"Alice"}]')
    assert created.headers["content-type"] == listed.headers["content-type"] == "application/json"


async def test_a_fresh_directory_is_an_empty_array(database_client: AsyncClient) -> None:
    listed = await database_client.get("/users/")

    assert (listed.status_code, listed.content) == (200, b"[]")
    assert "link" not in listed.headers


async def test_users_are_listed_by_id(database_client: AsyncClient) -> None:
    for name in ("Carol", "Alice", "Bob"):
        await database_client.post("/users/", json={"name": name})

    listed = await database_client.get("/users/")

    assert listed.content == b'[{"id":1,"name":"Carol"},{"id":2,"name":"Alice"},{"id":3,"name":"Bob"}]'

"""What only the directory itself writes is refused in every body: never applied, never passed over."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

import pytest
from httpx2 import AsyncClient
from tests.api.document import OPERATIONS, SCHEMAS, create_one_of_each

from repositories.stores import TABLES

KEPT: Final = {field.name for table in TABLES for field in fields(table.entity)} | {"hash", "digests", "actor", "seq"}
VALUES: Final = [7, "2026-01-01T00:00:00Z", None]


def refused() -> Iterator[tuple[str, frozenset[str]]]:
    """Each operation that takes a body, with the fields that are not the client's to set."""
    for name, operation in OPERATIONS.items():
        if operation.body:
            shown = SCHEMAS[operation.shown]["properties"].keys() if operation.shown else set()
            yield name, frozenset((KEPT | shown) - SCHEMAS[operation.body]["properties"].keys())


REFUSED: Final = dict(refused())


def test_finds_every_operation_that_takes_a_body() -> None:
    assert REFUSED.keys() >= {"create_user", "put_user_by_external_id", "patch_user", "create_key"}
    assert REFUSED.keys() == {name for name, each in OPERATIONS.items() if "requestBody" in each.described}


def test_the_bookkeeping_is_among_the_fields() -> None:
    bookkeeping = {"id", "version", "created_at", "updated_at", "deleted_at", "revoked_at", "last_used_at", "secret"}

    assert all(bookkeeping - {"secret"} <= fields for fields in REFUSED.values())
    assert "secret" in REFUSED["create_key"]


@pytest.mark.parametrize("name", REFUSED)
async def test_a_read_only_field_is_refused_and_nothing_is_done(client: AsyncClient, name: str) -> None:
    operation = OPERATIONS[name]
    method, path, lawful = operation.method, operation.at(1, "x"), operation.example
    await client.post("/users/", json={"name": "Alice", "external_id": "x"})
    await create_one_of_each(client, but=name)
    before = (await client.get("/changes/")).content

    for field in sorted(REFUSED[name]):
        for value in VALUES:
            answer = await client.request(method, path, json={**lawful, field: value})
            assert answer.status_code == 422, (field, answer.text)
            found = {each["pointer"]: each["code"] for each in answer.json()["errors"]}
            assert found == {f"/body/{field}": "unknown"}

    assert (await client.get("/changes/")).content == before
    assert (await client.request(method, path, json=lawful)).status_code in (200, 201)

"""Fields that only the directory writes are refused in every body: never applied, never ignored."""

from collections.abc import Iterator
from typing import Final

import pytest
from httpx2 import AsyncClient
from tests.api.described import OPERATIONS, SCHEMAS, Operation, fill, lawful

from repositories.stores import TABLES

KEPT: Final = {column.name for table in TABLES for column in table.columns} | {"hash", "digests", "actor", "seq"}
VALUES: Final = [7, "2026-01-01T00:00:00Z", None]
BOOKKEEPING: Final = {"id", "version", "created_at", "updated_at", "deleted_at", "revoked_at", "last_used_at"}


def taking() -> Iterator[tuple[Operation, str, frozenset[str]]]:
    """Each operation that takes a body, its schema, and the fields that clients cannot set."""
    for operation in OPERATIONS:
        if taken := operation.body:
            shown = SCHEMAS[operation.shown]["properties"].keys() if operation.shown else set()
            yield operation, taken, frozenset((KEPT | shown) - SCHEMAS[taken]["properties"].keys())


TAKING: Final = list(taking())


def test_these_tests_find_the_bodies_of_every_entity() -> None:
    assert {schema for _, schema, _ in TAKING} >= {"UserIn", "UserPatch", "KeyIn"}


def test_the_read_only_fields_include_the_bookkeeping() -> None:
    assert all(refused >= BOOKKEEPING for _, _, refused in TAKING)
    assert all("secret" in refused for _, schema, refused in TAKING if schema == "KeyIn")


@pytest.mark.parametrize(("operation", "schema", "refused"), TAKING, ids=[str(each) for each, _, _ in TAKING])
async def test_a_read_only_field_is_refused_and_nothing_is_done(
    client: AsyncClient, operation: Operation, schema: str, refused: frozenset[str]
) -> None:
    await fill(client.request, but=operation)
    if operation.id == "patch_user_by":
        await client.put("/users/by/external-id/x", json={"name": "Alice"})
    method, path = operation.method, operation.at(1, "x")
    before = (await client.get("/changes/")).content

    for field in sorted(refused):
        for value in VALUES:
            answer = await client.request(method, path, json={**lawful(schema), field: value})
            assert answer.status_code == 422, (field, answer.text)
            found = {each["pointer"]: each["code"] for each in answer.json()["errors"]}
            assert found == {f"/body/{field}": "unknown"}

    assert (await client.get("/changes/")).content == before
    done = await client.request(method, path, json=lawful(schema))
    assert str(done.status_code) in operation.described["responses"], done.text
    assert done.is_success, done.text

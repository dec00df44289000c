"""What only the directory itself writes is refused in every body: never applied, never passed over."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from httpx2 import AsyncClient

from repositories.stores import TABLES

DOCUMENT: Final = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())
SCHEMAS: Final = DOCUMENT["components"]["schemas"]
KEPT: Final = {column.name for table in TABLES for column in table.columns} | {"hash", "digests", "actor", "seq"}
VALUES: Final = [7, "2026-01-01T00:00:00Z", None]


def schema_in(content: Mapping[str, Any]) -> str | None:
    """The name of the schema of a JSON body."""
    for media_type, described in content.get("content", {}).items():
        if media_type in ("application/json", "application/merge-patch+json") and "$ref" in described["schema"]:
            return str(described["schema"]["$ref"].rpartition("/")[2])
    return None


def bodies() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Each operation that takes a body: method, path, schema, and the fields that are not the client's to set."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if taken := schema_in(operation.get("requestBody", {})):
                given = schema_in(operation["responses"].get("201") or operation["responses"]["200"])
                shown = SCHEMAS[given]["properties"].keys() if given else set()
                yield method.upper(), path, taken, frozenset((KEPT | shown) - SCHEMAS[taken]["properties"].keys())


TAKING: Final = list(bodies())


def lawful(schema: str) -> Any:
    """A body of the schema: its first example."""
    return SCHEMAS[schema]["examples"][0]


def test_finds_the_bodies_of_every_noun() -> None:
    assert {schema for _, _, schema, _ in TAKING} >= {"UserIn", "UserPatch", "KeyIn"}


def test_the_bookkeeping_is_among_the_fields() -> None:
    bookkeeping = {"id", "version", "created_at", "updated_at", "deleted_at", "revoked_at", "last_used_at", "secret"}

    assert all(bookkeeping - {"secret"} <= refused for _, _, _, refused in TAKING)
    assert all("secret" in refused for _, _, schema, refused in TAKING if schema == "KeyIn")


@pytest.mark.parametrize(
    ("method", "path", "schema", "refused"), TAKING, ids=[f"{method} {path}" for method, path, _, _ in TAKING]
)
async def test_a_read_only_field_is_refused_and_nothing_is_done(
    client: AsyncClient, method: str, path: str, schema: str, refused: frozenset[str]
) -> None:
    await client.post("/users/", json={"name": "Alice", "external_id": "x"})
    if method == "PATCH" and not path.startswith("/users/"):
        noun = path.partition("{")[0]
        await client.post(noun, json=lawful(next(each for how, at, each, _ in TAKING if (how, at) == ("POST", noun))))
    path = path.replace("{id}", "1").replace("{key}", "x")
    before = (await client.get("/changes/")).content

    for field in sorted(refused):
        for value in VALUES:
            answer = await client.request(method, path, json={**lawful(schema), field: value})
            assert answer.status_code == 422, (field, answer.text)
            found = {each["pointer"]: each["code"] for each in answer.json()["errors"]}
            assert found == {f"/body/{field}": "unknown"}

    assert (await client.get("/changes/")).content == before
    assert (await client.request(method, path, json=lawful(schema))).status_code in (200, 201)

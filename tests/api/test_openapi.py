"""The document that client authors read, and the pages that show it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from httpx2 import AsyncClient

from api.app import create_app
from api.container import Container

ROOT = Path(__file__).parents[2]
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(in_memory: Container) -> dict[str, Any]:
    return create_app(in_memory).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each operation under its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


async def test_the_document_in_the_repository_is_the_one_that_is_served(client: AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json() == json.loads((ROOT / "openapi.json").read_text())


def test_operations_are_called_as_the_functions_are(document: dict[str, Any], in_memory: Container) -> None:
    functions = {
        f"{method} {re.sub(':path}', '}', route.path)}": route.endpoint.__name__
        for route in create_app(in_memory).routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }

    assert {name: operation["operationId"] for name, operation in operations(document).items()} == functions
    assert len(set(functions.values())) == len(functions)


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    assert [name for name, operation in operations(document).items() if not operation.get("description")] == []


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    undescribed = [
        f"{name}: {parameter['name']}"
        for name, operation in operations(document).items()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]

    assert undescribed == []


def speaks(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a schema, or one that it is made of, has words or an example."""
    if "$ref" in schema:
        return speaks(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if schema.get("description") or schema.get("examples"):
        return True
    return any(speaks(each, schemas) for each in schema.get("anyOf", []))


def test_every_field_is_described_or_shown_by_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bare = [
        f"{schema}.{field}"
        for schema, definition in schemas.items()
        for field, described in definition.get("properties", {}).items()
        if not speaks(described, schemas)
    ]

    assert bare == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)))

    assert references <= document["components"]["schemas"].keys()
    assert "Problem" in references


def test_every_refusal_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for name, operation in operations(document).items():
        assert "default" in operation["responses"], name
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert response["content"] == problem, f"{name} {status}"


def test_the_schema_of_problems_is_what_problems_are(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Problem"]

    assert set(schema["required"]) == {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert {*schema["required"], "errors"} <= schema["properties"].keys()


async def test_the_docs_need_no_other_host(client: AsyncClient) -> None:
    page = (await client.get("/docs")).text

    assert re.findall(r"(?:https?:)?//[\w.]", page) == []
    named = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(named) == 3
    for path in [*named, "/openapi.json"]:
        served = await client.get(path)
        assert (served.status_code, len(served.content) > 500) == (200, True), path
    assert "url: '/openapi.json'" in page

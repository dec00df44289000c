"""The document for authors of clients, and the pages that show it."""

import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from httpx2 import AsyncClient

from api.app import create_app
from api.container import Container
from api.web.problems import CODES, STATUS, Problem, name_of, title_of
from domain.errors import Contended

ROOT = Path(__file__).parents[3]
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document() -> dict[str, Any]:
    """The document in the repository. The first test compares it with the served one, which takes long to make."""
    document: dict[str, Any] = json.loads((ROOT / "openapi.json").read_text())
    return document


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each operation under its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


async def test_the_document_in_the_repository_is_the_served_one(client: AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json() == json.loads((ROOT / "openapi.json").read_text())


def test_operation_ids_are_the_names_of_the_functions(document: dict[str, Any], in_memory: Container) -> None:
    functions = {
        f"{method} {re.sub(':path}', '}', route.path)}": route.endpoint.__name__
        for route in create_app(in_memory).routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }

    assert {name: operation["operationId"] for name, operation in operations(document).items()} == functions
    assert len(set(functions.values())) == len(functions)


def test_every_operation_has_a_description(document: dict[str, Any]) -> None:
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
    """Whether a schema, or one of its parts, has a description or an example."""
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


def test_every_reference_has_a_target(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([\w-]+)"', json.dumps(document)))
    there = {(kind, name) for kind, named in document["components"].items() for name in named}

    assert references <= there
    assert references >= {("schemas", "Problem"), ("headers", "X-Request-Id"), ("responses", "Conflict")}


def test_every_refusal_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        assert "default" in operation["responses"], name
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                shown = resolved(response, document)["content"]["application/problem+json"]
                assert shown["schema"] == {"$ref": "#/components/schemas/Problem"}, f"{name} {status}"


def resolved(part: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, with its reference resolved."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: dict[str, Any] = document["components"][kind][name]
    return found


def test_every_refusal_has_a_valid_example(document: dict[str, Any]) -> None:
    codes = set()
    for name, response in document["components"]["responses"].items():
        for example in response["content"]["application/problem+json"]["examples"].values():
            shown = Problem.model_validate(example["value"], extra="forbid")
            assert name in {name_of(shown.status), name_of("default")}
            assert (shown.type, shown.title) == (f"urn:roster:problem:{shown.code}", title_of(shown.status))
            codes.add((shown.status, shown.code))

    assert codes >= {(status, refusal.code) for refusal, status in STATUS.items() if refusal is not Contended}
    assert codes >= {(status, code) for status, code in CODES.items() if status != 404}


def test_every_parameter_has_a_valid_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for parameter in operation.get("parameters", []):
            schema = resolved(parameter["schema"], document)
            assert parameter["schema"]["examples"], f"{name}: {parameter['name']}"
            for example in parameter["schema"]["examples"]:
                assert jsonschema_rs.is_valid(schema, example), f"{name}: {parameter['name']}"


def test_no_parameter_is_null(document: dict[str, Any]) -> None:
    parameters = [each for _, operation in operations(document).items() for each in operation.get("parameters", [])]

    assert parameters
    assert "null" not in json.dumps([each["schema"] for each in parameters])


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for body in operation.get("requestBody", {}).get("content", {}).values():
            schema = resolved(body["schema"], document)
            assert schema["examples"], name
            for example in schema["examples"]:
                whole = {**schema, "components": document["components"]}
                assert jsonschema_rs.is_valid(whole, example), f"{name}: {example}"


HEADERS = {
    "create_user 201": {"Location", "ETag", "Last-Modified", "Roster-Seq", "Dry-Run", "Idempotency-Replayed"},
    "list_users 200": {"Link", "X-Total-Count", "Vary", "Roster-Seq"},
    "get_user 200": {"ETag", "Last-Modified", "Roster-Seq"},
    "get_user 304": {"ETag", "Last-Modified", "Roster-Seq"},
    "patch_user 200": {"ETag", "Last-Modified", "Roster-Seq", "Dry-Run"},
    "put_user_by 200": {"ETag", "Last-Modified", "Roster-Seq", "Dry-Run"},
    "put_user_by 201": {"Location", "ETag", "Last-Modified", "Roster-Seq", "Dry-Run"},
    "delete_user 204": {"Roster-Seq", "Dry-Run"},
    "restore_user 200": {"ETag", "Last-Modified", "Roster-Seq", "Dry-Run", "Idempotency-Replayed"},
    "list_changes 200": {"Link", "Roster-Seq"},
    "live 200": set(),
    "create_user 409": {"Retry-After"},
    "create_user 415": {"Accept", "Accept-Patch"},
    "ready 503": {"Retry-After"},
    "get_user 404": set(),
    "get_user default": {"Allow"},
}


@pytest.mark.parametrize("answer", HEADERS)
def test_the_headers_of_an_answer_are_documented_with_examples(document: dict[str, Any], answer: str) -> None:
    operation_id, status = answer.split()
    (operation,) = [each for each in operations(document).values() if each["operationId"] == operation_id]
    headers = resolved(operation["responses"][status], document)["headers"]

    assert headers.keys() == {"X-Request-Id", *HEADERS[answer]}
    for name, header in headers.items():
        described = resolved(header, document)
        assert described["description"], name
        assert jsonschema_rs.is_valid(described["schema"], described["example"]), name


def test_limits_are_in_the_schema(document: dict[str, Any]) -> None:
    listing = operations(document)["GET /users/"]["parameters"]
    bounds = {each["name"]: each["schema"] for each in listing}
    name = document["components"]["schemas"]["UserIn"]["properties"]["name"]

    assert (bounds["limit"]["minimum"], bounds["limit"]["maximum"]) == (1, 1000)
    assert (bounds["filter"]["maxLength"], bounds["cursor"]["maxLength"]) == (4096, 8192)
    assert (name["minLength"], name["maxLength"]) == (1, 200)
    assert "1 MiB" in document["info"]["description"]


def test_health_needs_no_key(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert operations(document)["GET /health/live"]["security"] == []


def test_the_fields_of_a_user_may_be_missing(document: dict[str, Any]) -> None:
    assert not document["components"]["schemas"]["UserOut"].get("required")


def test_problems_match_their_schema(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Problem"]

    assert set(schema["required"]) == {"type", "title", "status", "detail", "code", "request_id"}
    assert {*schema["required"], "instance", "errors"} <= schema["properties"].keys()


async def test_the_docs_need_no_other_host(client: AsyncClient) -> None:
    page = (await client.get("/docs")).text

    assert re.findall(r"(?:https?:)?//[\w.]", page) == []
    named = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(named) == 3
    for path in [*named, "/openapi.json"]:
        served = await client.get(path)
        assert (served.status_code, len(served.content) > 500) == (200, True), path
    assert "url: '/openapi.json'" in page


EMPTY: Final = ("202", "204")


def test_every_success_with_a_body_has_a_schema(document: dict[str, Any]) -> None:
    """A generated client drops an answer without a schema."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                if status.startswith("2") and status not in EMPTY:
                    assert all(each.get("schema") for each in response["content"].values()), (method, path, status)

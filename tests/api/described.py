"""openapi.json as tests read it: the operations with their scopes, parameters and bodies.

A test over every operation is parametrized by these. So a new noun is tested with no edit here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from domain.keys import Scope
from domain.values import MAX_ID

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final[Mapping[str, Any]] = json.loads((ROOT / "openapi.json").read_text())
SCHEMAS: Final[Mapping[str, Any]] = DOCUMENT["components"]["schemas"]
JSON_TYPES: Final = ("application/json", "application/merge-patch+json")


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    described: Mapping[str, Any]

    def __str__(self) -> str:
        return self.id

    @property
    def scopes(self) -> Sequence[Scope]:
        """The scopes that its caller needs: all of them. None if it is open to anybody."""
        return [Scope(name) for needed in self.described["security"] for names in needed.values() for name in names]

    @property
    def is_guarded(self) -> bool:
        return bool(self.described["security"])

    @property
    def reads(self) -> bool:
        return self.method == "GET"

    @property
    def is_of_a_collection(self) -> bool:
        return self.path.endswith("/")

    @property
    def creates(self) -> bool:
        """Whether it adds an entity with an address of its own to a collection."""
        return self.method == "POST" and self.body is not None and "201" in self.described["responses"]

    def parameters(self, place: str) -> Mapping[str, Any]:
        """The schemas of its parameters in the path, the query or the headers, by name. Headers are in lower case."""
        named = str.lower if place == "header" else str
        return {named(each["name"]): each["schema"] for each in self.described["parameters"] if each["in"] == place}

    def at(self, id: int | str, key: str) -> str:
        """Its path with a value for every parameter."""
        path = self.path
        for name, schema in self.parameters("path").items():
            one_of = schema.get("enum") or [schema.get("const", key)]
            path = path.replace(f"{{{name}}}", str(id) if schema["type"] == "integer" else one_of[0])
        return path

    @property
    def nowhere(self) -> str:
        """Its path to something that does not exist."""
        return self.at(MAX_ID, "nobody")

    @property
    def body(self) -> str | None:
        """The name of the schema of its JSON body."""
        return schema_in(self.described.get("requestBody", {}))

    @property
    def shown(self) -> str | None:
        """The name of the schema of its answer."""
        return next((schema_in(each) for status, each in self.described["responses"].items() if status[0] == "2"), None)


def schema_in(content: Mapping[str, Any]) -> str | None:
    for media_type, described in content.get("content", {}).items():
        if media_type in JSON_TYPES and "$ref" in described["schema"]:
            return str(described["schema"]["$ref"].rpartition("/")[2])
    return None


OPERATIONS: Final = [
    Operation(operation["operationId"], method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
GUARDED: Final = [operation for operation in OPERATIONS if operation.is_guarded]
WRITES: Final = [operation for operation in GUARDED if not operation.reads]


def fields_of(schema: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The fields of a body with each of their possible schemas."""
    for name, field in SCHEMAS[schema]["properties"].items():
        for each in (field, *field.get("anyOf", ())):
            yield name, each


def ids_in(schema: str) -> Iterator[str]:
    """The fields of a body that are ids of other entities."""
    return (name for name, field in fields_of(schema) if field.get("maximum") == MAX_ID)


def objects_in(schema: str) -> Iterator[str]:
    """The fields of a body that are objects of the client's own."""
    return (name for name, field in fields_of(schema) if field.get("additionalProperties") is True)


def lawful(schema: str) -> dict[str, Any]:
    """A body of the schema: its first example, with references to the first entity of each kind."""
    example: dict[str, Any] = SCHEMAS[schema]["examples"][0]
    return {**example, **{name: 1 for name in ids_in(schema) if example.get(name) is not None}}


async def fill(ask: Any, *, but: Operation | None = None) -> None:
    """Creates one entity of each kind from its first example, after the entities that it refers to.

    `ask` sends a request. What `but` creates is left out, and what refers to that.
    """
    creating = [each for each in WRITES if each.creates and not (but and each.body == but.body)]
    waiting = [each for each in creating if each.path != (but and but.path) and Scope.KEYS_ADMIN not in each.scopes]
    while waiting:
        refused = [
            each
            for each in waiting
            if (await ask("POST", each.at(1, "x"), json=lawful(str(each.body)))).status_code != 201
        ]
        if len(refused) == len(waiting):
            return
        waiting = refused

"""openapi.json, read for tests: what a further noun adds to it, they cover without an edit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from httpx2 import AsyncClient

from domain.keys import Scope

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final[Mapping[str, Any]] = json.loads((ROOT / "openapi.json").read_text())
SCHEMAS: Final[Mapping[str, Any]] = DOCUMENT["components"]["schemas"]
JSON_TYPES: Final = ("application/json", "application/merge-patch+json")


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What a key needs for it. None, if it is open to anybody."""
        return tuple(Scope(scope) for each in self.described["security"] for scope in each["key"])

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def lists(self) -> bool:
        return self.method == "GET" and self.path.endswith("/")

    @property
    def creates(self) -> bool:
        return self.method == "POST" and self.path.endswith("/") and self.body is not None

    @property
    def body(self) -> str | None:
        """The name of the schema of the JSON body that it takes."""
        return schema_in(self.described.get("requestBody", {}))

    @property
    def shown(self) -> str | None:
        """The name of the schema of what it answers, if that is one entity."""
        done = [answer for status, answer in self.described["responses"].items() if status.startswith("2")]
        return next((name for name in map(schema_in, done) if name), None)

    @property
    def example(self) -> Any:
        """A body that it takes: the first example of the schema; None if it takes none."""
        return None if self.body is None else SCHEMAS[self.body]["examples"][0]

    def takes(self, parameter: str) -> bool:
        return any(each["name"].lower() == parameter for each in self.described["parameters"])

    def at(self, id: int, key: str) -> str:
        """Its path, with this for each id and this for every other key."""
        path = self.path
        for each in self.described["parameters"]:
            value = id if each["schema"].get("type") == "integer" else key
            path = path.replace(f"{{{each['name']}}}", str(value)) if each["in"] == "path" else path
        return path


def schema_in(described: Mapping[str, Any]) -> str | None:
    """The name of the schema of a JSON body."""
    for media_type, content in described.get("content", {}).items():
        if media_type in JSON_TYPES and "$ref" in content["schema"]:
            return str(content["schema"]["$ref"].rpartition("/")[2])
    return None


OPERATIONS: Final[Mapping[str, Operation]] = {
    described["operationId"]: Operation(method.upper(), path, described)
    for path, methods in DOCUMENT["paths"].items()
    for method, described in methods.items()
}

LOCKING: Final = "create_key"
"""After it every request needs a key."""


async def create_one_of_each(client: AsyncClient, but: str = "") -> None:
    """Create an entity of each kind but keys, and but by that operation. Those that refer to others come after them."""
    waiting = [each for each in OPERATIONS.values() if each.creates and each.id not in (but, LOCKING)]
    while created := [
        each for each in waiting if (await client.post(each.at(1, "x"), json=each.example)).status_code == 201
    ]:
        waiting = [each for each in waiting if each not in created]

"""Clients of SCIM, on the fake and on each database. They check the form of every answer."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import pytest
from httpx2 import AsyncClient, Response
from tests.api.conftest import (  # fixtures
    Directory,
    client_of,
    container_at,
    container_on,
    database_url,
    directory,
    directory_with,
    emptied_database,
    in_memory,
    kept_database,
    own_settings_only,
    served,
)

from api.container import Container

__all__ = [
    "client_of",
    "container_at",
    "database_url",
    "directory",
    "directory_with",
    "emptied_database",
    "in_memory",
    "kept_database",
    "own_settings_only",
    "served",
]

MOUNT: Final = "/scim/v2"
ADDRESS: Final = f"http://localhost{MOUNT}"
USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MESSAGE: Final = "urn:ietf:params:scim:api:messages:2.0:"

Opened = Callable[[Container], AbstractAsyncContextManager[AsyncClient]]


def is_in_form(answer: Response) -> Response:
    """Whether an answer has SCIM's media type, and an error the body of RFC 7644, section 3.12."""
    if answer.content:
        assert answer.headers["content-type"] == "application/scim+json", answer.text
    if answer.status_code >= 400:
        body = answer.json()
        assert body["schemas"] == [f"{MESSAGE}Error"]
        assert body["status"] == str(answer.status_code)
        assert body["detail"]
    return answer


class Scim:
    """A client of SCIM, and of REST on the same server."""

    def __init__(self, http: AsyncClient) -> None:
        self.http = http

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        if body is not None:
            options["json"] = body
        return is_in_form(await self.http.request(method, f"{MOUNT}{path}", **options))

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.ask("GET", path, **({"params": params} if params else {}))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create(self, **body: Any) -> Any:
        answer = await self.ask("POST", "/Users", {"schemas": [USER], **body})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def create_group(self, **body: Any) -> Any:
        answer = await self.ask("POST", "/Groups", {"schemas": [GROUP], **body})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def patch(self, path: str, *operations: dict[str, Any], **options: Any) -> Response:
        return await self.ask("PATCH", path, patch(*operations), **options)

    async def found(self, filter: str, path: str = "/Users", key: str = "userName") -> list[Any]:
        return [each[key] for each in (await self.get(path, filter=filter))["Resources"]]

    async def refused(
        self, status: int, scim_type: str | None, method: str, path: str, body: Any = None, **options: Any
    ) -> Any:
        answer = await self.ask(method, path, body, **options)
        assert (answer.status_code, answer.json().get("scimType")) == (status, scim_type), answer.text
        return answer.json()


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [f"{MESSAGE}PatchOp"], "Operations": list(operations)}


@pytest.fixture
async def scim(in_memory: Container, client_of: Opened) -> AsyncIterator[Scim]:
    """A fresh directory in memory."""
    async with client_of(in_memory) as http:
        yield Scim(http)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def any_container(request: pytest.FixtureRequest, container_at: Callable[[str], Container]) -> Container:
    """A server on the fake, and on each database."""
    if request.param == "memory":
        container: Container = request.getfixturevalue("in_memory")
        return container
    return container_on(request.param, request, container_at)


@pytest.fixture
async def everywhere(any_container: Container, client_of: Opened) -> AsyncIterator[Scim]:
    """A fresh directory in memory, and on each database."""
    async with client_of(any_container) as http:
        yield Scim(http)


@pytest.fixture
async def strict(directory_with: Callable[..., Directory], client_of: Opened) -> AsyncIterator[Scim]:
    """A directory in memory with a strict SCIM server."""
    async with client_of(directory_with(scim_strict=True).container) as http:
        yield Scim(http)

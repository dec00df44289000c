"""A SCIM request, as handlers get it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import Request, Response

from api.scim.answers import MEDIA_TYPE
from api.scim.lists import Query
from api.web.conditions import unwanted_by, versions_in
from api.web.dependencies import Service
from api.web.requests import JSON_TYPE, StrictRequest
from domain.errors import NotFound
from domain.keys import Scope
from domain.values import is_id
from domain.versions import Expected
from services.operations import scopes_of
from services.provisioning import ProvisioningService
from services.users import UserService

users_of: Final = Service(lambda container: container.users)
groups_of: Final = Service(lambda container: container.provisioning)


class ScimRequest(StrictRequest):
    @property
    def media_types(self) -> tuple[str, ...]:
        return (MEDIA_TYPE, JSON_TYPE)


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation of a bulk request: its id, its body, and the version that it expects."""

    id: str
    data: Any
    version: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `base` is the URL of the mount: see `api.scim.app.base_of`."""

    request: Request
    base: str
    strict: bool
    part: BulkOperation | None = None

    def for_part(self, part: BulkOperation) -> "Call":
        return replace(self, part=part)

    @property
    def users(self) -> UserService:
        return users_of.give(self.request)

    @property
    def groups(self) -> ProvisioningService:
        return groups_of.give(self.request)

    @property
    def sees_groups(self) -> bool:
        scopes = self.request.state.scopes
        return scopes is None or Scope.GROUPS_READ in scopes

    @property
    def id(self) -> int:
        """The id in the path. Raises `NotFound` if it does not have the form of an id."""
        text: str = self.request.path_params["id"] if self.part is None else self.part.id
        if not (text.isascii() and text.isdigit() and is_id(id := int(text)) and str(id) == text):
            raise NotFound("There is no resource with this id.")
        return id

    @property
    def query(self) -> Query:
        return Query.of(self.request.query_params if self.part is None else {}, strict=self.strict)

    @property
    def path(self) -> str:
        path: str = self.request.scope["path"]
        return path.removesuffix("/.search").rstrip("/")

    async def body(self) -> Any:
        return await self.request.json() if self.part is None else self.part.data

    async def search(self) -> Query:
        """The body of a search."""
        return Query.of_search(await self.body(), strict=self.strict)

    @property
    def expected(self) -> Expected:
        """The versions that If-Match names. Tags in SCIM are weak (RFC 7644, section 3.14)."""
        header = self.request.headers.get("if-match") if self.part is None else self.part.version
        return None if header is None else versions_in("If-Match", header, weak_too=True)

    def has(self, version: int) -> bool:
        """Whether the client has this version already, by its If-None-Match."""
        return version in unwanted_by(self.request.headers.get("if-none-match"))


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Action:
    """The handler of a method at a path, and the operations of services that it calls."""

    handle: Handler
    operations: tuple[Callable[..., Any], ...] = ()

    @classmethod
    def of(cls, handle: Handler, *operations: Callable[..., Any]) -> "Action":
        return cls(handle, operations)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return tuple(dict.fromkeys(scope for each in self.operations for scope in scopes_of(each)))

    @property
    def name(self) -> str:
        return f"scim_{getattr(self.handle, '__name__', '')}"


Actions = Mapping[str, Action]
"""The actions at one path, by method."""

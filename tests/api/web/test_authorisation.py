"""Who may call what: every operation of openapi.json against every kind of caller."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import APIRouter
from fastapi import Response as FastApiResponse
from fastapi.routing import APIRoute
from httpx2 import Response
from tests.api.described import DOCUMENT, GUARDED, OPERATIONS, Operation

from api.app import create_app
from api.container import Container
from api.users import Users
from api.web.routing import Router, StrictRoute, calls, operation_of
from domain.keys import Scope, held_in_scim, write_secret
from services.keys import KeyService
from services.operations import scopes_of
from services.users import UserService

if TYPE_CHECKING:
    from tests.api.conftest import Directory

DECIDED: Final[Mapping[str, Sequence[Scope]]] = {
    "create_user": [Scope.USERS_WRITE],
    "list_users": [Scope.USERS_READ],
    "get_user": [Scope.USERS_READ],
    "patch_user": [Scope.USERS_WRITE],
    "delete_user": [Scope.USERS_WRITE],  # with purge, users:purge as well
    "restore_user": [Scope.USERS_WRITE],
    "get_user_by": [Scope.USERS_READ],
    "patch_user_by": [Scope.USERS_WRITE],
    "delete_user_by": [Scope.USERS_WRITE],
    "put_user_by": [Scope.USERS_WRITE],
    "list_changes": [Scope.CHANGES_READ],
    "list_user_changes": [Scope.CHANGES_READ],
    "create_key": [Scope.KEYS_ADMIN],
    "list_keys": [Scope.KEYS_ADMIN],
    "get_key": [Scope.KEYS_ADMIN],
    "rotate_key": [Scope.KEYS_ADMIN],
    "revoke_key": [Scope.KEYS_ADMIN],
}
"""Operations whose scopes were decided and must not change unnoticed. Others only have to keep the rules."""

OPEN: Final = {"live", "ready", "metrics"}
"""The operations that are open to anybody. No others may be."""

READING: Final = {scope for scope in Scope if scope.endswith(":read")}

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
every_guarded_operation = pytest.mark.parametrize("operation", GUARDED, ids=str)


def require_401(answer: Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthenticated"


def require_403(answer: Response, scope: Scope) -> None:
    assert answer.status_code == 403, answer.text
    assert answer.json()["code"] == "forbidden"
    assert answer.json()["detail"] == f"This needs the scope {scope}."


def require_admitted(answer: Response) -> None:
    assert answer.status_code not in (401, 403, 429, 500), answer.text


def test_every_decided_operation_exists() -> None:
    assert DECIDED.keys() | OPEN <= {operation.id for operation in OPERATIONS}


def test_operations_need_the_scopes_that_were_decided() -> None:
    assert {each.id: each.scopes for each in OPERATIONS if each.id in DECIDED} == DECIDED


def test_no_other_operation_is_open_without_a_key() -> None:
    assert {operation.id for operation in OPERATIONS if not operation.scopes} == OPEN


@every_guarded_operation
def test_reading_scopes_never_allow_a_write_and_reads_need_no_writing_scope(
    operation: Operation,
) -> None:
    writing = {scope for scope in operation.scopes if scope.endswith((":write", ":purge"))}

    assert not writing if operation.reads else READING.isdisjoint(operation.scopes)


def test_the_openapi_document_has_every_served_operation(in_memory: Container) -> None:
    served = [route for route in create_app(in_memory).router.routes if isinstance(route, APIRoute)]

    assert {route.name for route in served} == {operation.id for operation in OPERATIONS}
    assert {route.name for route in served if isinstance(route, StrictRoute)} == {each.id for each in GUARDED}


def test_the_scopes_in_the_openapi_document_are_those_of_the_services(in_memory: Container) -> None:
    served = [route for route in create_app(in_memory).router.routes if isinstance(route, StrictRoute)]

    declared = {route.name: list(scopes_of(operation_of(route.endpoint))) for route in served}
    assert declared == {operation.id: operation.scopes for operation in GUARDED}


def test_only_the_docs_and_the_console_are_served_beside_operations(in_memory: Container) -> None:
    routes = create_app(in_memory).router.routes

    others = {getattr(route, "path", None) for route in routes if not isinstance(route, APIRoute)}
    assert others == {"/", "/console", "/docs", "/docs/assets", "/openapi.json", "/scim/v2"}


@every_operation
def test_the_openapi_document_shows_the_scopes(operation: Operation) -> None:
    security = [{"key": operation.scopes}] if operation.scopes else []

    assert operation.described["security"] == security
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


MALFORMED: Final = ["Bearer", "Bearer ", "{secret}", "Basic {secret}", "Bearer {secret} x", "Bearer:{secret}", "", ",",
                    "Bearer Bearer {secret}", "Bearer {secret},Bearer {secret}"]  # fmt: skip


@every_operation
async def test_a_request_without_a_valid_key_is_a_401(directory: "Directory", operation: Operation) -> None:
    method, path = operation.method, operation.nowhere
    key, secret = await directory.key(*Scope)
    _, expired = await directory.key(*Scope, expires_at=directory.time.now + timedelta(days=1))
    gone, revoked = await directory.key(*Scope)
    await directory.revoke(gone)
    assert (await directory.ask(method, path, key=expired)).status_code != 401  # still valid, and remembered
    directory.time.pass_by(24 * 60 * 60)

    answers = [await directory.ask(method, path)]
    for wrong in (expired, revoked, write_secret(key.id, "w" * 32), write_secret(99, "w" * 32), "garbage", secret[:-1]):
        answers.append(await directory.ask(method, path, key=wrong))  # noqa: PERF401
    for header in MALFORMED:
        sent = {"authorization": header.format(secret=secret)}
        answers.append(await directory.ask(method, path, headers=sent))

    for answer in answers:
        if operation.is_guarded:
            require_401(answer)
        else:
            assert answer.status_code == 200
    require_admitted(await directory.ask(method, path, key=secret))


@every_guarded_operation
@pytest.mark.parametrize("held", Scope)
async def test_a_key_with_one_scope_may_do_what_this_scope_allows(
    directory: "Directory", operation: Operation, held: Scope
) -> None:
    _, secret = await directory.key(held)

    answer = await directory.ask(operation.method, operation.nowhere, key=secret)

    if missing := [scope for scope in operation.scopes if scope is not held]:
        require_403(answer, missing[0])  # the first one is named
    else:
        require_admitted(answer)


@every_guarded_operation
async def test_a_key_with_just_the_needed_scopes_is_enough(directory: "Directory", operation: Operation) -> None:
    _, secret = await directory.key(*operation.scopes)

    require_admitted(await directory.ask(operation.method, operation.nowhere, key=secret))


@every_guarded_operation
async def test_all_other_scopes_together_are_not_enough(directory: "Directory", operation: Operation) -> None:
    for scope in operation.scopes:
        _, secret = await directory.key(*set(Scope) - {scope})

        require_403(await directory.ask(operation.method, operation.nowhere, key=secret), scope)


@pytest.mark.parametrize("operation", [each for each in GUARDED if each.is_of_a_collection], ids=str)
async def test_a_collection_without_its_slash_needs_the_same_scopes(
    directory: "Directory", operation: Operation
) -> None:
    method, path = operation.method, operation.nowhere.removesuffix("/")
    _, secret = await directory.key(*set(Scope) - set(operation.scopes))

    require_401(await directory.ask(method, path))
    require_403(await directory.ask(method, path, key=secret), operation.scopes[0])


@pytest.mark.parametrize("operation", [each for each in GUARDED if each.reads], ids=str)
async def test_head_needs_the_same_scopes(directory: "Directory", operation: Operation) -> None:
    _, secret = await directory.key(*set(Scope) - set(operation.scopes))

    assert (await directory.ask("HEAD", operation.nowhere)).status_code == 401
    assert (await directory.ask("HEAD", operation.nowhere, key=secret)).status_code == 403


class Unread:
    def __aiter__(self) -> AsyncIterator[bytes]:
        pytest.fail("was read")


BODIES: Final[Mapping[str, dict[str, Any]]] = {
    "unread": {"content": Unread()},
    "announced as huge": {"content": Unread(), "headers": {"content-length": str(2**40)}},
    "malformed": {"content": b"{", "headers": {"content-type": "application/json"}},
    "of another type": {"content": b"{}", "headers": {"content-type": "text/plain"}},
    "huge": {"content": b" " * 2**21, "headers": {"content-type": "application/json"}},
}


@every_guarded_operation
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_missing_scope_is_refused_before_the_body_and_the_parameters_are_read(
    directory: "Directory", operation: Operation, body: dict[str, Any]
) -> None:
    method, path = operation.method, operation.at("no-id", "nobody") + "?no_such_parameter=1&limit=x"
    _, secret = await directory.key(*set(Scope) - set(operation.scopes))

    require_401(await directory.ask(method, path, **body))
    require_403(await directory.ask(method, path, key=secret, **body), operation.scopes[0])


async def test_purging_needs_another_scope_than_writing(directory: "Directory") -> None:
    _, writer = await directory.key(Scope.USERS_WRITE, Scope.USERS_READ)
    _, purger = await directory.key(Scope.USERS_PURGE)
    _, both = await directory.key(Scope.USERS_WRITE, Scope.USERS_PURGE)
    await directory.ask("POST", "/users/", key=writer, json={"name": "Alice"})

    require_403(await directory.ask("DELETE", "/users/1?purge=true", key=writer), Scope.USERS_PURGE)
    require_403(await directory.ask("DELETE", "/users/1?purge=true&dry_run=true", key=writer), Scope.USERS_PURGE)
    require_403(await directory.ask("DELETE", "/users/1?purge=true", key=purger), Scope.USERS_WRITE)
    assert (await directory.ask("GET", "/users/1", key=writer)).status_code == 200
    assert (await directory.ask("DELETE", "/users/1?purge=true", key=both)).status_code == 204
    assert (await directory.ask("GET", "/users/1", key=writer)).status_code == 404


async def nothing() -> None: ...


async def of_users(users: Users) -> None: ...


@pytest.mark.parametrize("endpoint", [nothing, of_users])
def test_a_route_without_a_declared_operation_is_refused(endpoint: Any) -> None:
    with pytest.raises(TypeError, match="declare the operation that it calls"):
        Router("/x", "x").get("/")(endpoint)
    with pytest.raises(TypeError, match="declare the operation that it calls"):
        APIRouter(route_class=StrictRoute).get("/")(endpoint)


def test_a_route_calls_an_operation_and_nothing_else() -> None:
    with pytest.raises(AttributeError):
        calls(nothing)


@pytest.mark.parametrize(
    ("operation", "scopes"),
    [
        (UserService.get, [Scope.USERS_READ]),
        (UserService.create, [Scope.USERS_WRITE]),
        (UserService.purge, [Scope.USERS_WRITE, Scope.USERS_PURGE]),
        (KeyService.get, [Scope.KEYS_ADMIN]),
    ],
)
def test_the_scopes_of_a_route_are_those_of_the_operation_that_it_calls(operation: Any, scopes: list[Scope]) -> None:
    async def endpoint() -> None: ...

    router = Router("/x", "x")
    router.get("/")(calls(operation)(endpoint))

    assert [route.openapi_extra for route in router.routes if isinstance(route, APIRoute)] == [
        {"security": [{"key": scopes}]},
        {"security": [{"key": scopes}]},
    ]


class OtherRoute(StrictRoute):
    """A route of another protocol, in which the scope `scim` counts."""

    holds = staticmethod(held_in_scim)


async def test_the_scope_scim_counts_in_routes_of_scim_only(directory: "Directory") -> None:
    _, scim = await directory.key(Scope.SCIM)
    _, reader = await directory.key(Scope.USERS_READ)
    other = APIRouter(route_class=OtherRoute)

    @other.get("/other/users")
    @calls(UserService.count)
    async def count_users(users: Users) -> FastApiResponse:
        return FastApiResponse(str(await users.count()))

    @other.get("/other/keys")
    @calls(KeyService.list)
    async def list_keys(users: Users) -> None:
        pytest.fail("was called")

    directory.app.router.routes.extend(other.routes)

    assert (await directory.ask("GET", "/other/users", key=scim)).text == "0"
    assert (await directory.ask("GET", "/other/users", key=reader)).text == "0"
    require_403(await directory.ask("GET", "/other/keys", key=scim), Scope.KEYS_ADMIN)
    require_403(await directory.ask("GET", "/users/", key=scim), Scope.USERS_READ)
    require_401(await directory.ask("GET", "/other/users"))

"""Who may call what: every operation of openapi.json against every kind of caller."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from httpx2 import Response

from api.app import create_app
from api.container import Container
from api.users import Users
from api.web.routing import Router, StrictRoute, calls
from domain.keys import Scope, write_secret
from domain.values import MAX_ID
from services.keys import KeyService
from services.users import UserService

if TYPE_CHECKING:
    from tests.api.conftest import Directory

DOCUMENT: Final = json.loads((Path(__file__).parents[3] / "openapi.json").read_text())
OPERATIONS: Final[Mapping[str, tuple[str, str]]] = {
    operation["operationId"]: (method.upper(), path)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}

DECIDED: Final[Mapping[str, Scope | None]] = {
    "list_changes": Scope.CHANGES_READ,
    "list_user_changes": Scope.CHANGES_READ,
    "create_key": Scope.KEYS_ADMIN,
    "list_keys": Scope.KEYS_ADMIN,
    "get_key": Scope.KEYS_ADMIN,
    "rotate_key": Scope.KEYS_ADMIN,
    "revoke_key": Scope.KEYS_ADMIN,
    "live": None,
    "ready": None,
    "metrics": None,
}
"""What some operations need, by decision; None is open to anybody."""


def expected(operation: str) -> Scope | None:
    """To read or to write the noun at the beginning of the path, unless it is decided otherwise."""
    if operation in DECIDED:
        return DECIDED[operation]
    method, path = OPERATIONS[operation]
    return Scope(f"{path.split('/')[1]}:{'read' if method == 'GET' else 'write'}")


EXPECTED: Final = {operation: expected(operation) for operation in OPERATIONS}
GUARDED: Final = {name: scope for name, scope in EXPECTED.items() if scope}

every_operation = pytest.mark.parametrize("operation", OPERATIONS)
every_guarded_operation = pytest.mark.parametrize("operation", GUARDED)


def place(operation: str) -> tuple[str, str]:
    """Its method, and its path to something that is not there."""
    method, path = OPERATIONS[operation]
    return method, path.replace("{id}", str(MAX_ID)).replace("{key}", "nobody")


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


def test_no_decision_outlives_its_operation() -> None:
    assert DECIDED.keys() <= OPERATIONS.keys()


def test_what_is_served_is_what_the_document_tells(in_memory: Container) -> None:
    served = [route for route in create_app(in_memory).router.routes if isinstance(route, APIRoute)]

    assert {route.name for route in served} == EXPECTED.keys()
    assert {route.name for route in served if isinstance(route, StrictRoute)} == GUARDED.keys()


def test_nothing_else_is_served_than_the_docs(in_memory: Container) -> None:
    routes = create_app(in_memory).router.routes

    others = {getattr(route, "path", None) for route in routes if not isinstance(route, APIRoute)}
    assert others == {"/docs", "/docs/assets", "/openapi.json"}


@every_operation
def test_the_document_tells_the_scope(operation: str) -> None:
    method, path = OPERATIONS[operation]
    scope = EXPECTED[operation]

    assert DOCUMENT["paths"][path][method.lower()]["security"] == ([{"key": [scope]}] if scope else [])
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


MALFORMED: Final = ["Bearer", "Bearer ", "{secret}", "Basic {secret}", "Bearer {secret} x", "Bearer:{secret}", "", ",",
                    "Bearer Bearer {secret}", "Bearer {secret},Bearer {secret}"]  # fmt: skip


@every_operation
async def test_without_a_valid_key_it_is_a_401(directory: "Directory", operation: str) -> None:
    method, path = place(operation)
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
        if EXPECTED[operation]:
            require_401(answer)
        else:
            assert answer.status_code == 200
    require_admitted(await directory.ask(method, path, key=secret))


@every_guarded_operation
@pytest.mark.parametrize("held", Scope)
async def test_a_key_of_one_scope_may_do_what_that_is_for(directory: "Directory", operation: str, held: Scope) -> None:
    method, path = place(operation)
    _, secret = await directory.key(held)

    answer = await directory.ask(method, path, key=secret)

    if held is EXPECTED[operation]:
        require_admitted(answer)
    else:
        require_403(answer, GUARDED[operation])


@every_guarded_operation
async def test_every_other_scope_together_is_not_enough(directory: "Directory", operation: str) -> None:
    method, path = place(operation)
    _, secret = await directory.key(*set(Scope) - {GUARDED[operation]})

    require_403(await directory.ask(method, path, key=secret), GUARDED[operation])


@pytest.mark.parametrize("operation", [name for name in GUARDED if OPERATIONS[name][1].endswith("/")])
async def test_the_other_spelling_of_a_collection_is_no_way_around(directory: "Directory", operation: str) -> None:
    method, path = place(operation)
    _, secret = await directory.key(*set(Scope) - {GUARDED[operation]})

    require_401(await directory.ask(method, path.removesuffix("/")))
    require_403(await directory.ask(method, path.removesuffix("/"), key=secret), GUARDED[operation])


@pytest.mark.parametrize("operation", [name for name in GUARDED if OPERATIONS[name][0] == "GET"])
async def test_head_is_no_way_around(directory: "Directory", operation: str) -> None:
    _, path = place(operation)
    _, secret = await directory.key(*set(Scope) - {GUARDED[operation]})

    assert (await directory.ask("HEAD", path)).status_code == 401
    assert (await directory.ask("HEAD", path, key=secret)).status_code == 403


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
async def test_it_is_refused_before_the_body_and_the_parameters_are_looked_at(
    directory: "Directory", operation: str, body: dict[str, Any]
) -> None:
    method, path = place(operation)
    path = path.replace(str(MAX_ID), "no-id") + "?no_such_parameter=1&limit=x"
    _, secret = await directory.key(*set(Scope) - {GUARDED[operation]})

    require_401(await directory.ask(method, path, **body))
    require_403(await directory.ask(method, path, key=secret, **body), GUARDED[operation])


async def test_purging_needs_a_scope_beside_writing(directory: "Directory") -> None:
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
def test_a_route_that_does_not_say_which_operation_it_calls_cannot_be_declared(endpoint: Any) -> None:
    with pytest.raises(TypeError, match="which operation it calls"):
        Router("/x", "x").get("/")(endpoint)
    with pytest.raises(TypeError, match="which operation it calls"):
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

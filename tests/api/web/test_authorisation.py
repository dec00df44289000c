"""Who may call what: every operation of openapi.json against every kind of caller."""

import runpy
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from httpx2 import Response
from tests.api.document import DOCUMENT, OPERATIONS, Operation

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

OPEN: Final = {"live", "ready", "metrics"}
"""What is open to anybody."""

DECIDED: Final[Mapping[str, tuple[Scope, ...]]] = {"list_user_changes": (Scope.CHANGES_READ,)}
"""What an operation needs, where the nouns of its path leave a choice or it needs something else."""

READING: Final = ("read", "admin")
WRITING: Final = ("write", "admin")

GUARDED: Final = {name: operation.scopes for name, operation in OPERATIONS.items() if name not in OPEN}

every_operation = pytest.mark.parametrize("operation", OPERATIONS)
every_guarded_operation = pytest.mark.parametrize("operation", GUARDED)


def fitting(operation: Operation) -> set[Scope]:
    """The scopes that an operation may ask for: to read, to write or to administer what its path names.

    If no scope is for what it names, those that are to read or to write anything.
    """
    verbs = WRITING if operation.writes else READING
    scopes = {scope for scope in Scope if scope.partition(":")[2] in verbs}
    return {scope for scope in scopes if scope.partition(":")[0] in operation.path.split("/")} or scopes


def place(operation: str) -> tuple[str, str]:
    """Its method, and its path to something that is not there."""
    return OPERATIONS[operation].method, OPERATIONS[operation].at(MAX_ID, "nobody")


def lacking_one_of(operation: str) -> list[tuple[Scope, set[Scope]]]:
    """Each scope that an operation needs, with every scope but that."""
    return [(scope, set(Scope) - {scope}) for scope in GUARDED[operation]]


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
    assert OPEN | DECIDED.keys() <= OPERATIONS.keys()


def test_what_is_served_is_what_the_document_tells(in_memory: Container) -> None:
    served = [route for route in create_app(in_memory).router.routes if isinstance(route, APIRoute)]

    assert {route.name for route in served} == OPERATIONS.keys()
    assert {route.name for route in served if isinstance(route, StrictRoute)} == GUARDED.keys()


def test_nothing_else_is_served_than_the_docs(in_memory: Container) -> None:
    routes = create_app(in_memory).router.routes

    others = {getattr(route, "path", None) for route in routes if not isinstance(route, APIRoute)}
    assert others == {"/docs", "/docs/assets", "/openapi.json"}


@every_operation
def test_the_document_tells_the_scopes(operation: str) -> None:
    scopes = list(OPERATIONS[operation].scopes)

    assert OPERATIONS[operation].described["security"] == ([] if operation in OPEN else [{"key": scopes}])
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@every_guarded_operation
def test_an_operation_needs_a_scope_for_what_it_does_to_what_its_path_names(operation: str) -> None:
    needed = GUARDED[operation]

    assert needed
    if operation in DECIDED:
        assert needed == DECIDED[operation]
    else:
        assert set(needed) <= fitting(OPERATIONS[operation])


@pytest.mark.parametrize(
    ("operation", "scopes"),
    [
        ("create_user", {Scope.USERS_WRITE}),
        ("list_users", {Scope.USERS_READ}),
        ("delete_user", {Scope.USERS_WRITE}),
        ("list_changes", {Scope.CHANGES_READ}),
        ("get_key", {Scope.KEYS_ADMIN}),
        ("rotate_key", {Scope.KEYS_ADMIN}),
    ],
)
def test_the_path_of_an_operation_leaves_no_choice_of_its_scope(operation: str, scopes: set[Scope]) -> None:
    assert fitting(OPERATIONS[operation]) == scopes


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
        if operation in OPEN:
            assert answer.status_code == 200
        else:
            require_401(answer)
    require_admitted(await directory.ask(method, path, key=secret))


@every_guarded_operation
@pytest.mark.parametrize("held", Scope)
async def test_a_key_of_one_scope_may_do_what_that_is_for(directory: "Directory", operation: str, held: Scope) -> None:
    method, path = place(operation)
    _, secret = await directory.key(held)

    answer = await directory.ask(method, path, key=secret)

    missing = [scope for scope in GUARDED[operation] if scope is not held]
    if missing:
        require_403(answer, missing[0])
    else:
        require_admitted(answer)


@every_guarded_operation
async def test_every_other_scope_together_is_not_enough(directory: "Directory", operation: str) -> None:
    method, path = place(operation)
    for scope, others in lacking_one_of(operation):
        _, secret = await directory.key(*others)

        require_403(await directory.ask(method, path, key=secret), scope)


@pytest.mark.parametrize("operation", [name for name in GUARDED if OPERATIONS[name].path.endswith("/")])
async def test_the_other_spelling_of_a_collection_is_no_way_around(directory: "Directory", operation: str) -> None:
    method, path = place(operation)
    for scope, others in lacking_one_of(operation):
        _, secret = await directory.key(*others)

        require_401(await directory.ask(method, path.removesuffix("/")))
        require_403(await directory.ask(method, path.removesuffix("/"), key=secret), scope)


@pytest.mark.parametrize("operation", [name for name in GUARDED if not OPERATIONS[name].writes])
async def test_head_is_no_way_around(directory: "Directory", operation: str) -> None:
    _, path = place(operation)
    for _, others in lacking_one_of(operation):
        _, secret = await directory.key(*others)

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
    for scope, others in lacking_one_of(operation):
        _, secret = await directory.key(*others)

        require_401(await directory.ask(method, path, **body))
        require_403(await directory.ask(method, path, key=secret, **body), scope)


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


MODULE: Final = """
from api.web.routing import Router

router = Router("/x", "x")


@router.{method}("/{{id}}")
async def forgotten(id: int) -> None: ...
"""


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_a_module_with_a_route_that_does_not_say_cannot_be_imported(tmp_path: Path, method: str) -> None:
    file = tmp_path / "forgetful.py"
    file.write_text(MODULE.format(method=method))

    with pytest.raises(TypeError, match="forgotten does not say which operation it calls"):
        runpy.run_path(str(file))


def test_a_route_calls_an_operation_and_nothing_else() -> None:
    with pytest.raises(AttributeError):
        calls(nothing)(of_users)


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

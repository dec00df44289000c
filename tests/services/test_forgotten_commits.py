"""No service method can lose its `commit` unnoticed: without that line, the method's check here must fail.

Every public method that commits needs a check in CHECKS. A method without one fails this file.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest

import services
from domain.errors import Gone, NotFound, Refusal
from domain.keys import FIRST_ID, RANDOM_LENGTH, NewKey, Scope, write_secret
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.authentication import Authenticator
from services.keys import KeyService
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
ADMIN: Final = NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,))
COMMIT: Final = ast.dump(ast.parse("await work.commit(None)").body[0])

Check = Callable[[Any, MemoryUnitsOfWork], Awaitable[None]]
"""Uses the service that it is given, which may have forgotten a commit, and looks with another at what was kept."""


async def keeps_a_created_user(service: UserService, units: MemoryUnitsOfWork) -> None:
    created = (await service.create(NewUser(name="Alice"))).result
    assert await UserService(units, CONTEXT).get(created.id) == created


async def keeps_a_patch(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    alice = (await others.create(NewUser(name="Alice"))).result
    patched = (await service.patch(alice.id, {"name": "Alicia"})).result
    assert await others.get(alice.id) == patched


async def keeps_a_deletion(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    alice = (await others.create(NewUser(name="Alice"))).result
    await service.delete(alice.id)
    with pytest.raises(Gone):
        await others.get(alice.id)


async def keeps_what_was_put(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    created, _ = (await service.put(NewUser(name="Alice", external_id="x"))).result
    assert await others.find("external_id", "x") == created
    replaced, _ = (await service.put(NewUser(name="Alicia", external_id="x"))).result
    assert await others.get(created.id) == replaced


async def keeps_a_restoration(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    alice = (await others.create(NewUser(name="Alice"))).result
    await others.delete(alice.id)
    restored = (await service.restore(alice.id)).result
    assert await others.get(alice.id) == restored


async def keeps_an_erasure(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    alice = (await others.create(NewUser(name="Alice"))).result
    await service.purge(alice.id)
    with pytest.raises(NotFound):
        await others.get(alice.id)


def key_service(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return kind(units, lambda: "r" * RANDOM_LENGTH, lambda: None, CONTEXT)


def access(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return kind(units, lambda: 0.0)


async def keeps_a_created_key(service: KeyService, units: MemoryUnitsOfWork) -> None:
    _, secret = (await service.create(ADMIN)).result
    assert (await access(Authenticator, units).authenticate(secret)).name == "admin"


async def keeps_a_seeded_key(service: KeyService, units: MemoryUnitsOfWork) -> None:
    secret = write_secret(FIRST_ID, "s" * RANDOM_LENGTH)
    await service.seed(secret)
    assert (await access(Authenticator, units).authenticate(secret)).name == "bootstrap"


async def keeps_a_rotation(service: KeyService, units: MemoryUnitsOfWork) -> None:
    others = KeyService(units, lambda: "o" * RANDOM_LENGTH, lambda: None, CONTEXT)
    key, _ = (await others.create(ADMIN)).result
    _, secret = (await service.rotate(key.id)).result
    assert (await access(Authenticator, units).authenticate(secret)).rotated_at is not None


async def keeps_a_revocation(service: KeyService, units: MemoryUnitsOfWork) -> None:
    others = KeyService(units, lambda: "o" * RANDOM_LENGTH, lambda: None, CONTEXT)
    key, _ = (await others.create(ADMIN)).result
    await service.revoke(key.id, force=True)
    assert (await others.get(key.id)).revoked_at is not None


async def keeps_the_note_of_a_use(service: Authenticator, units: MemoryUnitsOfWork) -> None:
    others = KeyService(units, lambda: "o" * RANDOM_LENGTH, lambda: None, CONTEXT)
    key, secret = (await others.create(ADMIN)).result
    await service.authenticate(secret)
    assert (await others.get(key.id)).last_used_at is not None


MAKERS: Final[dict[str, Callable[[Any, MemoryUnitsOfWork], Any]]] = {"KeyService": key_service, "Authenticator": access}
"""How to make the services that take other parts than units and an context."""


def of_a_request(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return kind(units, CONTEXT)


def made(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return MAKERS.get(kind.__name__, of_a_request)(kind, units)


CHECKS: Final[dict[str, Check]] = {
    "services.authentication.Authenticator._note_use": keeps_the_note_of_a_use,
    "services.keys.KeyService.create": keeps_a_created_key,
    "services.keys.KeyService.seed": keeps_a_seeded_key,
    "services.keys.KeyService.rotate": keeps_a_rotation,
    "services.keys.KeyService.revoke": keeps_a_revocation,
    "services.users.UserService.create": keeps_a_created_user,
    "services.users.UserService.patch": keeps_a_patch,
    "services.users.UserService.delete": keeps_a_deletion,
    "services.users.UserService._put": keeps_what_was_put,
    "services.users.UserService.restore": keeps_a_restoration,
    "services.users.UserService.purge": keeps_an_erasure,
}


class Uncommitted(ast.NodeTransformer):
    """Takes the commits out of one method of one class."""

    def __init__(self, of: str) -> None:
        self.of = of
        self.path: list[str] = []
        self.removed = 0

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # ast's own spelling
        return self.inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.inside(node)

    def inside(self, node: ast.ClassDef | ast.AsyncFunctionDef) -> ast.AST:
        self.path.append(node.name)
        visited = self.generic_visit(node)
        self.path.pop()
        return visited

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if ast.dump(node) != COMMIT or ".".join(self.path) != self.of:
            return node
        self.removed += 1
        return ast.copy_location(ast.Pass(), node)


def modules() -> list[str]:
    return sorted(each.name for each in pkgutil.walk_packages(services.__path__, "services."))


def committing_methods() -> Iterator[str]:
    """Every method that commits, by module, class and name."""
    for module in modules():
        source = inspect.getsource(importlib.import_module(module))
        for each in ast.parse(source).body:
            if isinstance(each, ast.ClassDef):
                yield from (f"{module}.{each.name}.{name}" for name in committing(each))


def committing(service: ast.ClassDef) -> Iterator[str]:
    for method in service.body:
        if isinstance(method, ast.AsyncFunctionDef) and any(ast.dump(node) == COMMIT for node in ast.walk(method)):
            yield method.name


def without_commit(method: str) -> Any:
    """The method's class, compiled anew without the line."""
    path, service, name = method.rsplit(".", 2)
    module = importlib.import_module(path)
    forgetting = Uncommitted(of=f"{service}.{name}")
    tree = ast.fix_missing_locations(forgetting.visit(ast.parse(inspect.getsource(module))))
    assert forgetting.removed == 1, "one method, one unit of work, one commit"
    namespace = {"__name__": path}
    exec(compile(tree, f"<{method} without its commit>", "exec"), namespace)
    return namespace[service]


@pytest.fixture(params=list(committing_methods()))
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    assert name in CHECKS, f"{name} commits: add a check for it"
    return name


async def test_what_a_method_did_is_kept(method: str, units: MemoryUnitsOfWork) -> None:
    path, service, _ = method.rsplit(".", 2)
    whole = getattr(importlib.import_module(path), service)
    await CHECKS[method](made(whole, units), units)


async def test_a_forgotten_commit_is_noticed(method: str, units: MemoryUnitsOfWork) -> None:
    forgetful = made(without_commit(method), units)
    with pytest.raises((AssertionError, Refusal, pytest.fail.Exception)):
        await CHECKS[method](forgetful, units)


def test_finds_the_methods_that_commit() -> None:
    assert "services.users.UserService.create" in committing_methods()
    assert "services.users.UserService.get" not in set(committing_methods())


def test_no_check_outlives_its_method() -> None:
    assert CHECKS.keys() == set(committing_methods())


def test_every_commit_is_spelled_so_that_it_is_found() -> None:
    """A commit under another spelling would escape the search above."""
    for module in modules():
        source = inspect.getsource(importlib.import_module(module))
        assert source.count(".commit(") == source.count("await work.commit(None)\n")

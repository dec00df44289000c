"""No service method can lose a `commit` unnoticed: without that call, the method's check here must fail.

A method without a check of its own in CHECKS is called as `test_operations` calls it, and has to leave something.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import pytest
from tests.services.receivers import take_all
from tests.services.test_operations import CALLS, contents, directory_for

import services
from domain.delivery.webhooks import NewWebhook, State
from domain.errors import Gone, NotFound, Refusal
from domain.groups import NewGroup
from domain.idempotency import Committed
from domain.keys import FIRST_ID, RANDOM_LENGTH, NewKey, Scope, Unauthenticated, digest_of, write_secret
from domain.links import VALID_FOR, Link
from domain.users import NewUser
from domain.work import RequestContext, utc_now
from repositories.fake import MemoryUnitsOfWork
from services.authentication import Authenticator
from services.delivery.webhooks import WebhookService
from services.groups import GroupService
from services.keys import KeyService
from services.memberships import MembershipService
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
ADMIN: Final = NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,))

Check = Callable[[Any, MemoryUnitsOfWork], Awaitable[None]]
"""Uses the given service, which may lack a commit, and checks with another one what was stored."""


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


async def keeps_what_was_put_of_a_group(service: GroupService, units: MemoryUnitsOfWork) -> None:
    others = GroupService(units, CONTEXT)
    created, _ = (await service.put(NewGroup(name="Engineers", external_id="x"))).result
    assert await others.find("external_id", "x") == created
    replaced, _ = (await service.put(NewGroup(name="Makers", external_id="x"))).result
    assert await others.get(created.id) == replaced


async def keeps_a_member(service: MembershipService, units: MemoryUnitsOfWork) -> None:
    alice = (await UserService(units, CONTEXT).create(NewUser(name="Alice"))).result
    group = (await GroupService(units, CONTEXT).create(NewGroup(name="Engineers"))).result
    for given in ({}, {"role": "lead"}):
        put = (await service.put(group.id, alice.id, given)).result
        assert await MembershipService(units, CONTEXT).get(group.id, alice.id) == put


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


def webhook_service(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return kind(units, bytes, False, CONTEXT)


async def keeps_a_pause(service: WebhookService, units: MemoryUnitsOfWork) -> None:
    others = webhook_service(WebhookService, units)
    webhook, _ = (await others.create(NewWebhook(url="https://example.org/"))).result
    await service.pause(webhook.id)
    assert (await others.get(webhook.id)).state is State.PAUSED


MAKERS: Final[dict[str, Callable[[Any, MemoryUnitsOfWork], Any]]] = {
    "KeyService": key_service,
    "Authenticator": access,
    "WebhookService": webhook_service,
    "DeliveryService": lambda kind, units: kind(units, bytes, take_all, utc_now, CONTEXT),
    "Retention": lambda kind, units: kind(units),
    "Ledger": lambda kind, units: kind(units, "this process"),
}
"""How to make the services that take more than units and a context."""


def of_a_request(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return kind(units, CONTEXT)


def made(kind: Any, units: MemoryUnitsOfWork) -> Any:
    return MAKERS.get(kind.__name__, of_a_request)(kind, units)


async def takes_a_link_once(service: Authenticator, units: MemoryUnitsOfWork) -> None:
    async with units.writing(CONTEXT) as work:
        await work.links.add(Link(digest_of("token"), None, work.now + VALID_FOR))
        await work.commit(None)
    assert await service.redeem("token") is None
    with pytest.raises(Unauthenticated):
        await service.redeem("token")


async def keeps_many_suspensions(service: UserService, units: MemoryUnitsOfWork) -> None:
    others = UserService(units, CONTEXT)
    ids = [(await others.create(NewUser(name=name))).result.id for name in ("Alice", "Bob")]
    assert (await service.patch_many(ids, {"status": "suspended"})).result == 2
    assert {user.status for user in await others.get_many(ids)} == {"suspended"}


CHECKS: Final[dict[str, Check]] = {
    "services.authentication.Authenticator._note_use": keeps_the_note_of_a_use,
    "services.authentication.Authenticator._take_link": takes_a_link_once,
    "services.groups.GroupService._put": keeps_what_was_put_of_a_group,
    "services.memberships.MembershipService.put": keeps_a_member,
    "services.keys.KeyService.create": keeps_a_created_key,
    "services.keys.KeyService.seed": keeps_a_seeded_key,
    "services.keys.KeyService.rotate": keeps_a_rotation,
    "services.keys.KeyService.revoke": keeps_a_revocation,
    "services.users.UserService.create": keeps_a_created_user,
    "services.users.UserService._change": keeps_a_patch,
    "services.users.UserService._change_many": keeps_many_suspensions,
    "services.users.UserService.delete": keeps_a_deletion,
    "services.users.UserService._put": keeps_what_was_put,
    "services.users.UserService.restore": keeps_a_restoration,
    "services.users.UserService.purge": keeps_an_erasure,
    "services.delivery.webhooks.WebhookService._set": keeps_a_pause,
}


def is_commit(node: ast.AST) -> bool:
    """Whether this is `await work.commit(result)` or `commit_new(store, new)`, alone or as a part of a statement."""
    match node:
        case ast.Await(ast.Call(ast.Attribute(ast.Name("work"), "commit"), [_], [])):
            return True
        case ast.Await(ast.Call(ast.Attribute(ast.Name("work"), "commit_new"), [_, _], [])):
            return True
    return False


def result_of(commit: ast.Call) -> ast.expr:
    """The result that would be committed."""
    if len(commit.args) == 1:
        return commit.args[0]
    store, new = commit.args
    return ast.Await(ast.Call(ast.Attribute(store, "add", ast.Load()), [new], []))


class Commit(NamedTuple):
    """One call of `commit` in a method, counted from 0."""

    method: str
    number: int

    def __str__(self) -> str:
        return f"{self.method}-{self.number}"


class Uncommitted(ast.NodeTransformer):
    """Replaces one commit of one method by `Committed(result, None)`: the same answer, and nothing stored."""

    def __init__(self, of: str, number: int) -> None:
        self.of = of
        self.number = number
        self.path: list[str] = []
        self.seen = 0

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # ast's own spelling
        return self.inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.inside(node)

    def inside(self, node: ast.ClassDef | ast.AsyncFunctionDef) -> ast.AST:
        self.path.append(node.name)
        visited = self.generic_visit(node)
        self.path.pop()
        return visited

    def visit_Await(self, node: ast.Await) -> ast.AST:
        if not is_commit(node) or ".".join(self.path) != self.of:
            return self.generic_visit(node)
        self.seen += 1
        if self.seen != self.number + 1:
            return node
        assert isinstance(node.value, ast.Call)
        arguments = [result_of(node.value), ast.Constant(None)]
        return ast.copy_location(ast.Call(ast.Name("Committed", ast.Load()), arguments, []), node)


def modules() -> list[str]:
    return sorted(each.name for each in pkgutil.walk_packages(services.__path__, "services."))


def tree_of(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def commits() -> Iterator[Commit]:
    """Every call of `commit` in a method of a service."""
    for module in modules():
        for each in tree_of(module).body:
            if isinstance(each, ast.ClassDef):
                yield from commits_in(each, module)


def commits_in(service: ast.ClassDef, module: str) -> Iterator[Commit]:
    for method in service.body:
        if isinstance(method, ast.AsyncFunctionDef):
            found = sum(map(is_commit, ast.walk(method)))
            yield from (Commit(f"{module}.{service.name}.{method.name}", number) for number in range(found))


def without(commit: Commit) -> Any:
    """The method's class, compiled without this commit."""
    path, service, name = commit.method.rsplit(".", 2)
    forgetting = Uncommitted(f"{service}.{name}", commit.number)
    tree = ast.fix_missing_locations(forgetting.visit(tree_of(path)))
    assert forgetting.seen > commit.number
    namespace = {"__name__": path, "Committed": Committed}
    exec(compile(tree, f"<{commit.method} without its commit>", "exec"), namespace)
    return namespace[service]


@pytest.fixture(params=list(commits()), ids=str)
def commit(request: pytest.FixtureRequest) -> Commit:
    found: Commit = request.param
    return found


def check_of(method: str) -> Check:
    return CHECKS.get(method) or partial(leaves_something, ".".join(method.split(".")[-2:]))


async def leaves_something(call: str, service: Any, _: MemoryUnitsOfWork) -> None:
    """The service works on the directory of `test_operations`, which has something to work on."""
    service.units = units = await directory_for(call)
    before = await contents(units)
    await CALLS[call](service)
    assert await contents(units) != before


@pytest.mark.parametrize("method", sorted({commit.method for commit in commits()}))
async def test_each_method_stores_what_its_check_expects(method: str, units: MemoryUnitsOfWork) -> None:
    path, service, _ = method.rsplit(".", 2)
    whole = getattr(importlib.import_module(path), service)
    await check_of(method)(made(whole, units), units)


async def test_a_method_without_its_own_check_has_to_store_something(units: MemoryUnitsOfWork) -> None:
    await leaves_something("UserService.create", UserService(units, CONTEXT), units)
    with pytest.raises(AssertionError):
        await leaves_something("UserService.get", UserService(units, CONTEXT), units)


async def test_a_forgotten_commit_is_detected(commit: Commit, units: MemoryUnitsOfWork) -> None:
    forgetful = made(without(commit), units)
    with pytest.raises((AssertionError, Refusal, pytest.fail.Exception)):
        await check_of(commit.method)(forgetful, units)


def test_finds_the_methods_that_commit() -> None:
    found = {commit.method for commit in commits()}
    assert "services.users.UserService.create" in found
    assert "services.users.UserService.get" not in found


def test_every_check_belongs_to_an_existing_method() -> None:
    assert CHECKS.keys() <= {commit.method for commit in commits()}


def test_the_search_finds_every_commit() -> None:
    """The search above would miss a commit with another name, or outside a method of a class."""
    known = list(commits())
    for module in modules():
        found = [commit for commit in known if commit.method.rsplit(".", 2)[0] == module]
        assert inspect.getsource(importlib.import_module(module)).replace("commit_new(", "commit(").count(
            "commit("
        ) == len(found)

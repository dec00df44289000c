"""What holds for every method of every service. The tests find all methods themselves.

A public method of a service declares its scopes. A caller without one of them gets `Forbidden`, and nothing is stored.
A unit of work that is contended is run again. A unit that writes is committed, except on a dry run.

A new method needs a line in CALLS, which shows how to call it. All else is found.
"""

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import pytest
from tests import exports
from tests.services.receivers import take_all

import services
from domain.batches import UserOperation, Verb
from domain.delivery.deliveries import Delivery, DeliveryState
from domain.delivery.leases import Lease
from domain.delivery.webhooks import NewWebhook, Progress, Secret, State
from domain.errors import Busy, Contended, Unreachable
from domain.groups import NewGroup
from domain.idempotency import Committed
from domain.imports import Match, Options, Row
from domain.keys import FIRST_ID, RANDOM_LENGTH, Forbidden, NewKey, Scope, digest_of, write_secret
from domain.links import VALID_FOR, Link
from domain.lists.filters import Filter, Present
from domain.memberships import NewMembership
from domain.nestings import NewNesting
from domain.provisioning import MembersPatch
from domain.users import FIELDS, NewUser, User
from domain.work import RequestContext, UnitsOfWork
from repositories.fake import MemoryUnitOfWork, MemoryUnitsOfWork
from services.exports import PersonPart
from services.keys import KeyService
from services.lists import in_pages
from services.operations import ATTEMPTS, SCOPES, Service, operation, scopes_of
from services.users import any_text

if TYPE_CHECKING:
    from contextlib import _AsyncGeneratorContextManager as UnitContext

    from repositories.stores import MemoryReadStores

T = TypeVar("T")
W = TypeVar("W")
Call = Callable[[Any], Awaitable[Any]]

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALICE, BOB, CAROL = 1, 2, 3
ENGINEERS, GONE, BUILDERS, MAKERS = 1, 2, 3, 4
ADMIN, USED = 1, 2
HOOK, PAUSED = 1, 2
HOLDER: Final = "this process"
LEASE: Final = Lease(HOLDER, 1)
DELIVERIES: Final = [
    Delivery(
        webhook_id=1, change=change, kind="user", entity_id=1, action="created", changed_at=NOON, state=state, at=NOON
    )
    for change, state in ((1, DeliveryState.DELIVERED), (2, DeliveryState.DELIVERED))
]
RANDOM: Final = "r" * RANDOM_LENGTH
TOKEN: Final = "t" * RANDOM_LENGTH

NO_SCOPE: Final[Mapping[str, str]] = {}
"""Public methods of services that need no scope, and why not."""

NOT_COMMITTED: Final[Mapping[str, str]] = {}
"""Methods that begin a unit of work to write and do not commit it, and why not."""


async def drained(export: Any) -> list[Any]:
    return [page async for page in export]


async def everything(service: Any) -> list[Any]:
    return [row async for rows in service.everything() for row in rows]


async def users(service: Any) -> list[Any]:
    return [row async for rows in service.users(Present(FIELDS["name"])) for row in rows]


async def person(service: Any) -> list[PersonPart]:
    return [part async for part in service.person(BOB)]


CALLS: Final[Mapping[str, Call]] = {
    "Authenticator.authenticate": lambda service: service.authenticate(write_secret(USED, RANDOM)),
    "Authenticator.current": lambda service: service.current(USED),
    "Authenticator.needs_key": lambda service: service.needs_key(),
    "Authenticator.redeem": lambda service: service.redeem(TOKEN),
    "BatchService.carry_out": lambda service: service.carry_out(
        [UserOperation(verb=Verb.PATCH, who=ALICE, body={"name": "Alicia"})]
    ),
    "ChangeService.latest": lambda service: service.latest(limit=9),
    "ChangeService.latest_about": lambda service: service.latest_about(User, ALICE, limit=9),
    "ChangeService.tally": lambda service: service.tally(since=NOON, most=9),
    "ChangeService.list": lambda service: service.list(since=0, limit=9),
    "ChangeService.list_about": lambda service: service.list_about(User, ALICE, since=0, limit=9),
    "ChangeService.wait": lambda service: service.wait(since=None, limit=9, within_s=1),
    "DeliveryService.list": lambda service: service.list(HOOK, limit=9),
    "DeliveryService.send_again": lambda service: service.send_again(HOOK, 1),
    "DeliveryService.test": lambda service: service.test(HOOK),
    "Ledger.any": lambda service: service.any(),
    "Ledger.asked": lambda service: service.asked(),
    "Ledger.change": lambda service: service.change(1),
    "Ledger.changes": lambda service: service.changes(0, 9),
    "Ledger.disable": lambda service: service.disable(HOOK),
    "Ledger.give_lease_back": lambda service: service.give_lease_back(),
    "Ledger.keep": lambda service: service.keep([Progress(HOOK, 7)], []),
    "Ledger.last": lambda service: service.last(),
    "Ledger.lease": lambda service: service.lease(),
    "Ledger.next_of": lambda service: service.next_of(("user", BOB), 0, None),
    "Ledger.subscription": lambda service: service.subscription(HOOK),
    "Ledger.subscriptions": lambda service: service.subscriptions(0),
    "Ledger.take_lease": lambda service: service.take_lease(LEASE),
    "Ledger.follow": lambda service: service.follow(0, 9, 1),
    "Ledger.forget": lambda service: service.forget(NOON + VALID_FOR),
    "Ledger.trim": lambda service: service.trim([HOOK], keep=1),
    "ExportService.everything": everything,
    "ExportService.person": person,
    "ExportService.users": users,
    "GroupService.count": lambda service: service.count(),
    "GroupService.create": lambda service: service.create(NewGroup(name="Builders")),
    "GroupService.delete": lambda service: service.delete(ENGINEERS),
    "GroupService.export": lambda service: drained(service.export(exports.GROUPS)),
    "GroupService.find": lambda service: service.find("name", "engineers"),
    "GroupService.get": lambda service: service.get(ENGINEERS),
    "GroupService.list_as_json": lambda service: service.list_as_json(exports.GROUPS, limit=9),
    "GroupService.list": lambda service: service.list(limit=9),
    "GroupService.list_children": lambda service: service.list_children(ENGINEERS, limit=9),
    "GroupService.list_reached": lambda service: service.list_reached(ALICE, limit=9),
    "GroupService.nest": lambda service: service.nest(ENGINEERS, BUILDERS),
    "GroupService.unnest": lambda service: service.unnest(MAKERS, ENGINEERS),
    "GroupService.list_of_user": lambda service: service.list_of_user(ALICE, limit=9),
    "GroupService.patch": lambda service: service.patch(ENGINEERS, {"name": "Coders"}),
    "GroupService.purge": lambda service: service.purge(GONE),
    "GroupService.put": lambda service: service.put(NewGroup(name="Coders", external_id="engineers")),
    "GroupService.restore": lambda service: service.restore(GONE),
    "ImportService.delete": lambda service: service.delete({ALICE: "alice"}, Match.EXTERNAL_ID),
    "ImportService.matched": lambda service: service.matched(Match.EXTERNAL_ID),
    "ImportService.store": lambda service: service.store([Row(1, {"name": "Dora"})], Options()),
    "KeyService.create": lambda service: service.create(NewKey(name="new", scopes=(Scope.KEYS_ADMIN,))),
    "KeyService.get": lambda service: service.get(ADMIN),
    "KeyService.link": lambda service: service.link(USED),
    "KeyService.list": lambda service: service.list(limit=9),
    "KeyService.revoke": lambda service: service.revoke(USED),
    "KeyService.rotate": lambda service: service.rotate(USED),
    "KeyService.seed": lambda service: service.seed(write_secret(FIRST_ID, RANDOM)),
    "MembershipService.change": lambda service: service.change(ENGINEERS, add={CAROL: {}}, remove=[ALICE]),
    "MembershipService.count": lambda service: service.count(ENGINEERS),
    "MembershipService.export": lambda service: drained(service.export(ENGINEERS, exports.MEMBERSHIPS)),
    "MembershipService.get": lambda service: service.get(ENGINEERS, ALICE),
    "MembershipService.list_as_json": lambda service: service.list_as_json(ENGINEERS, exports.MEMBERSHIPS, limit=9),
    "MembershipService.list": lambda service: service.list(ENGINEERS, limit=9),
    "MembershipService.list_nested": lambda service: service.list_nested(ENGINEERS, limit=9),
    "MembershipService.export_nested": lambda service: drained(service.export_nested(ENGINEERS, exports.MEMBERS)),
    "MembershipService.put": lambda service: service.put(ENGINEERS, ALICE, {"role": "lead"}),
    "MembershipService.remove": lambda service: service.remove(ENGINEERS, ALICE),
    "ProvisioningService.change": lambda service: service.change(
        ENGINEERS, lambda group: group.revised(name="Coders"), MembersPatch(add={("user", CAROL)})
    ),
    "ProvisioningService.count": lambda service: service.count(),
    "ProvisioningService.create": lambda service: service.create(NewGroup(name="Builders"), {("user", CAROL)}),
    "ProvisioningService.delete": lambda service: service.delete(ENGINEERS),
    "ProvisioningService.get": lambda service: service.get(ENGINEERS),
    "ProvisioningService.groups_of": lambda service: service.groups_of([ALICE]),
    "ProvisioningService.list": lambda service: service.list(limit=9),
    "ProvisioningService.with_members": lambda service: service.with_members([], members=True),
    "Retention.trim": lambda service: service.trim(-timedelta(days=90)),
    "UserService.count": lambda service: service.count(),
    "UserService.create": lambda service: service.create(NewUser(name="Dora")),
    "UserService.delete_many": lambda service: service.delete_many([ALICE, BOB]),
    "UserService.get_many": lambda service: service.get_many([ALICE, BOB]),
    "UserService.patch_many": lambda service: service.patch_many([ALICE, CAROL], {"status": "suspended"}),
    "UserService.delete": lambda service: service.delete(ALICE),
    "UserService.export": lambda service: drained(service.export(exports.USERS)),
    "UserService.list_as_json": lambda service: service.list_as_json(exports.USERS, limit=9),
    "UserService.find": lambda service: service.find("external_id", "alice"),
    "UserService.get": lambda service: service.get(ALICE),
    "UserService.list": lambda service: service.list(limit=9),
    "UserService.patch": lambda service: service.patch(ALICE, {"name": "Alicia"}),
    "UserService.change": lambda service: service.change(ALICE, lambda user: user.revised(name="Alicia")),
    "UserService.enrol": lambda service: service.enrol(NewUser(name="Bob", scim={})),
    "UserService.purge": lambda service: service.purge(BOB),
    "UserService.put": lambda service: service.put(NewUser(name="Alicia", external_id="alice")),
    "UserService.restore_many": lambda service: service.restore_many([ALICE, BOB]),
    "UserService.restore": lambda service: service.restore(BOB),
    "WebhookService.create": lambda service: service.create(NewWebhook(url="https://example.org/new")),
    "WebhookService.delete": lambda service: service.delete(HOOK),
    "WebhookService.get": lambda service: service.get(HOOK),
    "WebhookService.list": lambda service: service.list(limit=9),
    "WebhookService.patch": lambda service: service.patch(HOOK, {"url": "https://example.org/other"}),
    "WebhookService.pause": lambda service: service.pause(HOOK),
    "WebhookService.resume": lambda service: service.resume(PAUSED),
    "WebhookService.rotate": lambda service: service.rotate(HOOK),
}
"""How each method is called, so that it succeeds and, if it writes, changes something: see `directory_for`."""

WITHOUT_KEYS: Final = {"KeyService.seed"}
"""Methods that are called on a directory without keys."""


class WatchedUnits(MemoryUnitsOfWork):
    """Counts its units of work, and makes chosen ones contended: when they start, or when they end.

    A unit that writes ends with its commit.
    """

    def __init__(self) -> None:
        super().__init__(lambda: NOON)
        self.begun = 0
        self.written = 0
        self.openers: set[str] = set()
        self.pauses: list[int] = []
        self.is_contended: Callable[[int], bool] = lambda number: False
        self.contention: Callable[[], Contended] = lambda: Contended("Again.")
        self.at_start = True

    def reading(self, context: RequestContext | None = None) -> "UnitContext[MemoryReadStores]":
        return self.read(super().reading(context), self.begin(sys._getframe(1).f_code.co_qualname))

    def snapshot(self, context: RequestContext) -> "UnitContext[MemoryReadStores]":
        return self.read(super().snapshot(context), self.begin(sys._getframe(1).f_code.co_qualname))

    def writing(self, context: RequestContext) -> "UnitContext[MemoryUnitOfWork]":
        self.written += 1
        return self.write(super().writing(context), self.begin(sys._getframe(1).f_code.co_qualname))

    def begin(self, opener: str) -> int:
        self.openers.add(opener)
        self.begun += 1
        return self.begun

    def fail(self, number: int, *, at_start: bool) -> None:
        if self.is_contended(number) and self.at_start is at_start:
            raise self.contention()

    @asynccontextmanager
    async def read(self, unit: AbstractAsyncContextManager[W], number: int) -> AsyncIterator[W]:
        async with unit as work:
            self.fail(number, at_start=True)
            yield work
            self.fail(number, at_start=False)

    @asynccontextmanager
    async def write(
        self, unit: AbstractAsyncContextManager[MemoryUnitOfWork], number: int
    ) -> AsyncIterator[MemoryUnitOfWork]:
        async with unit as work:
            commit = work.commit

            async def commit_or_fail(result: T) -> Committed[T]:
                self.fail(number, at_start=False)
                return await commit(result)

            self.fail(number, at_start=True)
            work.commit = commit_or_fail  # type: ignore[method-assign]
            yield work

    async def changed(
        self, since: int, within_s: float, context: RequestContext, filter: Filter | None = None
    ) -> float:
        """Nobody waits here."""
        return 0

    async def pause(self, attempt: int) -> None:
        self.pauses.append(attempt)


async def directory_for(method: str) -> WatchedUnits:
    """A directory of Alice, Bob who was deleted, and Carol; of a group with Alice that is a part of another one, of an
    empty and a deleted group; of two webhooks, two keys that administer keys, and a link to the console.
    """
    units = WatchedUnits()
    context = RequestContext(actor="tester", request_id="r1")
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice", external_id="alice"))
        bob = await work.users.add(NewUser(name="Bob", external_id="bob"))
        await work.users.add(NewUser(name="Carol"))
        await work.users.save(bob.deleted(NOON))
        await work.groups.add(NewGroup(name="Engineers", external_id="engineers"))
        gone = await work.groups.add(NewGroup(name="Gone"))
        await work.groups.save(gone.deleted(NOON))
        for name in ("Others", "Makers"):
            await work.groups.add(NewGroup(name=name))
        await work.nestings.add(NewNesting(group_id=MAKERS, child_id=ENGINEERS))
        await work.memberships.add(NewMembership(group_id=ENGINEERS, user_id=ALICE))
        hook = NewWebhook(url="https://example.org/hooks")
        for each in (hook, replace(hook, state=State.PAUSED)):
            await work.webhooks.keep_secrets((await work.webhooks.add(each)).id, [Secret(b"s" * 32)])
        await work.deliveries.put(DELIVERIES)
        await work.leases.take("webhooks", HOLDER, None)
        await work.links.add(Link(digest_of(TOKEN), USED, NOON + VALID_FOR))
        await work.commit(None)
    if method not in WITHOUT_KEYS:
        for _ in (ADMIN, USED):
            await made(KeyService, units, context).create(NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,)))
    units.begun = units.written = 0
    return units


async def contents(units: WatchedUnits) -> object:
    """Everything that is stored, of every kind."""
    kept = units._tables.copy()
    return deepcopy(
        (
            {kind: rows.by_id for kind, rows in kept.rows.items()},
            kept.digests,
            kept.links,
            kept.secrets,
            kept.deliveries,
            kept.leases,
            kept.changes,
        )
    )


def made(service: Callable[..., T], units: UnitsOfWork, context: RequestContext) -> T:
    """A service of any kind. Its other parts are deterministic, so that two calls can be compared."""
    parts = {
        "units": units,
        "context": context,
        "randomness": lambda: RANDOM,
        "random_bytes": bytes,
        "allow_private": False,
        "post": take_all,
        "holder": HOLDER,
        "forget": lambda: None,
        "is_email": any_text,
        "monotonic": lambda: 0.0,
        "clock": lambda: NOON,
    }
    return service(**{name: parts[name] for name in inspect.signature(service).parameters})


class Outcome(NamedTuple):
    result: object
    contents: object


async def outcome(
    service: type, call: Call, units: WatchedUnits, *, scopes: tuple[Scope, ...] | None = None, dry_run: bool = False
) -> Outcome:
    context = RequestContext(actor="tester", request_id="r2", scopes=scopes, dry_run=dry_run)
    result = await call(made(service, units, context))
    return Outcome(result, await contents(units))


def classes() -> Iterator[type]:
    """The classes of the services that have units of work."""
    for each in pkgutil.walk_packages(services.__path__, "services."):
        module = importlib.import_module(each.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == each.name and "units" in inspect.signature(kind).parameters:
                yield kind


CLASSES: Final = {kind.__name__: kind for kind in classes()}
SERVICES: Final = [kind for name, kind in CLASSES.items() if name.endswith("Service")]


def public_methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {f"{kind.__name__}.{name}": each for name, each in vars(kind).items() if is_public(name, each)}


def is_public(name: str, member: object) -> bool:
    return callable(member) and not name.startswith("_")


OPERATIONS: Final = {name: method for kind in SERVICES for name, method in public_methods(kind).items()}


def class_of(method: str) -> type:
    return CLASSES[method.partition(".")[0]]


def without_scopes(kind: type) -> set[str]:
    return {name for name, method in public_methods(kind).items() if not getattr(method, SCOPES, ())}


def openers() -> set[str]:
    """Every function that begins a unit of work."""
    return {name for kind in CLASSES.values() for name in openers_in(kind)}


def openers_in(kind: type) -> Iterator[str]:
    for node in ast.parse(inspect.getsource(kind)).body[0].body:  # type: ignore[attr-defined]
        if any(begins(each) for each in ast.walk(node)):
            yield f"{kind.__name__}.{node.name}"


def begins(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"reading", "writing", "snapshot"}


def test_services_and_their_methods_are_found() -> None:
    assert {"UserService", "KeyService", "ChangeService", "Authenticator"} <= CLASSES.keys()
    assert {"UserService.create", "UserService.export", "KeyService.seed"} <= OPERATIONS.keys()
    assert {"UserService._put", "ExportService.person", "Authenticator._note_use"} <= openers()
    assert "UserService.put" not in openers()


def test_every_public_method_of_a_service_declares_its_scopes() -> None:
    assert {name for kind in SERVICES for name in without_scopes(kind)} == NO_SCOPE.keys()


def test_every_method_has_a_call_in_this_table() -> None:
    calls = {name for kind in CLASSES.values() for name, method in public_methods(kind).items() if is_called(method)}
    assert CALLS.keys() == calls


def is_called(method: Callable[..., Any]) -> bool:
    return hasattr(method, SCOPES) or inspect.iscoroutinefunction(method)


async def test_the_calls_of_this_table_begin_every_unit_of_work() -> None:
    begun: set[str] = set()
    for method, call in CALLS.items():
        units = await directory_for(method)
        units.openers.clear()
        await call(made(class_of(method), units, RequestContext(actor="tester", request_id="r2")))
        begun |= units.openers
    assert begun == openers() | {in_pages.__name__}  # which reads the lists of several services


@pytest.mark.parametrize(
    ("method", "scope"), [(name, scope) for name, method in OPERATIONS.items() for scope in getattr(method, SCOPES, ())]
)
async def test_a_caller_without_a_scope_is_refused_and_nothing_is_stored(method: str, scope: Scope) -> None:
    units = await directory_for(method)
    before = await contents(units)
    others = tuple(each for each in Scope if each is not scope)

    with pytest.raises(Forbidden) as refused:
        await outcome(class_of(method), CALLS[method], units, scopes=others)

    assert refused.value.detail == f"This needs the scope {scope}."
    assert units.begun == 0
    assert await contents(units) == before


@pytest.mark.parametrize("method", OPERATIONS)
async def test_a_caller_with_just_the_needed_scopes_is_served(method: str) -> None:
    just_these = scopes_of(OPERATIONS[method])
    served = await outcome(class_of(method), CALLS[method], await directory_for(method), scopes=just_these)
    assert served == await outcome(class_of(method), CALLS[method], await directory_for(method))


STREAMED: Final = {name for name, each in OPERATIONS.items() if not inspect.iscoroutinefunction(inspect.unwrap(each))}
"""Methods that do not retry a contended unit, since some pieces may have been sent already."""

RUN_AGAIN: Final = sorted(CALLS.keys() - STREAMED)


async def require_run_again(service: type, method: str, call: Call, *, at_start: bool) -> None:
    """Each unit of work of a call is contended once, and the call ends as if it had not been."""
    units = await directory_for(method)
    calm, count = await outcome(service, call, units), units.begun
    assert count > 0
    for number in range(1, count + 1):
        units = await directory_for(method)
        units.is_contended, units.at_start = number.__eq__, at_start
        assert await outcome(service, call, units) == calm
        assert (units.begun, units.pauses) == (count + 1, [1])


@pytest.mark.parametrize("method", RUN_AGAIN)
@pytest.mark.parametrize("at_start", [True, False], ids=["contended at the start", "contended at the end"])
async def test_a_contended_unit_is_retried(method: str, at_start: bool) -> None:
    await require_run_again(class_of(method), method, CALLS[method], at_start=at_start)


@pytest.mark.parametrize("method", RUN_AGAIN)
async def test_a_unit_that_stays_contended_is_busy_and_stores_nothing(method: str) -> None:
    units = await directory_for(method)
    before = await contents(units)
    units.is_contended, units.at_start = lambda number: True, False

    with pytest.raises(Busy):
        await outcome(class_of(method), CALLS[method], units)

    assert (units.begun, len(units.pauses)) == (ATTEMPTS, ATTEMPTS - 1)
    assert await contents(units) == before


@pytest.mark.parametrize("method", sorted(set(RUN_AGAIN) - openers()))
async def test_a_method_that_calls_others_is_not_retried_as_a_whole(method: str) -> None:
    units = await directory_for(method)
    units.is_contended, units.contention = lambda number: True, Unreachable

    with pytest.raises(Unreachable):
        await outcome(class_of(method), CALLS[method], units)

    assert units.begun == ATTEMPTS


@pytest.mark.parametrize("method", sorted(STREAMED))
async def test_a_stream_is_retried_only_before_its_first_piece(method: str) -> None:
    service, call = class_of(method), CALLS[method]
    await require_run_again(service, method, call, at_start=True)
    units = await directory_for(method)
    units.is_contended, units.at_start = lambda number: True, False
    with pytest.raises(Contended):
        await outcome(service, call, units)
    assert units.begun == 1


@pytest.mark.parametrize("method", CALLS)
async def test_a_write_is_stored_and_a_read_changes_nothing(method: str) -> None:
    units = await directory_for(method)
    before = await contents(units)
    after = await outcome(class_of(method), CALLS[method], units)
    assert (after.contents != before) is (units.written > 0 and method not in NOT_COMMITTED)


@pytest.mark.parametrize("method", OPERATIONS)
async def test_a_dry_run_returns_the_same_as_a_real_run_and_stores_nothing(method: str) -> None:
    units = await directory_for(method)
    before = await contents(units)

    dry = await outcome(class_of(method), CALLS[method], units, dry_run=True)
    true = await outcome(class_of(method), CALLS[method], units)

    assert dry.contents == before
    assert shown(dry.result) == shown(true.result)
    assert not isinstance(dry.result, Committed) or dry.result.seq is None


def shown(result: object) -> object:
    return result.result if isinstance(result, Committed) else result


def test_every_decorated_method_keeps_its_name_and_docstring() -> None:
    """A decorator keeps both, so that tracebacks and the documentation name the method itself."""
    for kind in CLASSES.values():
        for node in ast.parse(inspect.getsource(kind)).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                method = vars(kind)[node.name]
                assert method.__qualname__ == f"{kind.__name__}.{node.name}"
                assert inspect.cleandoc(method.__doc__ or "") == (ast.get_docstring(node) or "")


class FaultyService(Service):
    """The faults that the tests above have to detect."""

    async def open_to_all(self) -> None: ...

    @operation()
    async def with_no_scope(self) -> None: ...

    @operation(Scope.USERS_READ)
    async def sound(self) -> User:
        async with self.units.reading() as work:
            return await work.users.get(ALICE)

    @operation(Scope.USERS_READ, retries=False)
    async def not_run_again(self) -> User:
        async with self.units.reading() as work:
            return await work.users.get(ALICE)


def test_a_method_without_a_scope_is_detected() -> None:
    assert without_scopes(FaultyService) == {"FaultyService.open_to_all", "FaultyService.with_no_scope"}


@pytest.mark.parametrize("at_start", [True, False])
async def test_a_method_that_is_not_retried_is_detected(at_start: bool) -> None:
    await require_run_again(FaultyService, "sound", lambda service: service.sound(), at_start=at_start)
    with pytest.raises(Contended):
        await require_run_again(FaultyService, "faulty", lambda service: service.not_run_again(), at_start=at_start)


def test_only_an_operation_has_scopes() -> None:
    assert scopes_of(FaultyService.sound) == (Scope.USERS_READ,)
    with pytest.raises(AttributeError):
        scopes_of(FaultyService.open_to_all)


def test_every_scope_that_a_new_key_can_have_allows_something() -> None:
    asked_for = {scope for method in OPERATIONS.values() for scope in scopes_of(method)}
    assert set(Scope) == asked_for | {Scope.SCIM}  # which allows what SCIM needs, in SCIM

"""Many operations on users in one unit of work: each has the same result as alone."""

from collections.abc import Sequence

import pytest

from domain.batches import OperationDone, Taken, UserOperation, Verb
from domain.errors import Gone, Invalid, NotFound, Stale
from domain.idempotency import NOBODY
from domain.stores import Identifier
from domain.users import NewUser
from domain.values import JsonValue
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.batches import BatchService
from services.changes import ChangeService
from services.users import UserService


@pytest.fixture
def batches(units: MemoryUnitsOfWork, context: RequestContext) -> BatchService:
    return BatchService(units, context)


@pytest.fixture(autouse=True)
async def alice_bob_and_a_deleted_carol(users: UserService) -> None:
    await users.create(NewUser(name="Alice", external_id="a", email="alice@example.org"))
    await users.create(NewUser(name="Bob", external_id="b"))
    await users.create(NewUser(name="Carol", external_id="c"))
    await users.delete(3)


def by_external_id(value: str) -> Identifier:
    return Identifier("external_id", value)


def create(**body: JsonValue) -> UserOperation:
    return UserOperation(verb=Verb.CREATE, body=body)


def patch(who: int | Identifier, *expected: int, **body: JsonValue) -> UserOperation:
    return UserOperation(verb=Verb.PATCH, who=who, body=body, expected=expected or None)


def put(who: Identifier, *expected: int, **body: JsonValue) -> UserOperation:
    return UserOperation(verb=Verb.PUT, who=who, body=body, expected=expected or None)


def delete(who: int | Identifier, *expected: int) -> UserOperation:
    return UserOperation(verb=Verb.DELETE, who=who, body={}, expected=expected or None)


async def carried_out(
    batches: BatchService, *operations: UserOperation, atomic: bool = False
) -> Sequence[OperationDone]:
    return (await batches.carry_out(operations, atomic=atomic)).result.done


async def refusal(batches: BatchService, operation: UserOperation) -> object:
    [done] = await carried_out(batches, operation)
    assert (done.user, done.is_new) == (None, False)
    return done.refusal


async def test_operations_are_carried_out_and_answered_in_their_order(
    batches: BatchService, users: UserService, changes: ChangeService
) -> None:
    seen = (await changes.list(since=0, limit=99)).changes[-1].seq
    created, patched, replaced, deleted = await carried_out(
        batches,
        create(name="Dora", attributes={"floor": 3}),
        patch(1, name="Alicia", email=None),
        put(by_external_id("e"), name="Eve"),
        delete(by_external_id("b")),
    )
    assert created.user is not None
    assert (created.user.name, created.user.attributes, created.is_new) == ("Dora", {"floor": 3}, True)
    assert patched.user is not None
    assert (patched.user.name, patched.user.email, patched.user.version, patched.is_new) == ("Alicia", None, 2, False)
    assert replaced.user is not None
    assert (replaced.user.name, replaced.user.external_id, replaced.is_new) == ("Eve", "e", True)
    assert deleted.user is not None
    assert (deleted.user.id, deleted.user.is_hidden, deleted.is_new) == (2, True, False)
    assert (await users.get(1)).name == "Alicia"
    assert {(each.entity_id, each.action) for each in (await changes.list(since=seen, limit=99)).changes} == {
        (created.user.id, "created"),
        (1, "updated"),
        (replaced.user.id, "created"),
        (2, "deleted"),
    }


async def test_a_put_replaces_the_profile_of_an_existing_user(batches: BatchService) -> None:
    [done] = await carried_out(batches, put(by_external_id("a"), name="Ally"))
    assert done.user is not None
    assert (done.user.id, done.user.name, done.user.email, done.user.external_id) == (1, "Ally", None, "a")
    assert not done.is_new


@pytest.mark.parametrize(
    ("operation", "refused"),
    [
        (patch(9, name="X"), NotFound),
        (patch(by_external_id("x"), name="X"), NotFound),
        (delete(9), NotFound),
        (patch(3, name="X"), Gone),
        (delete(3), Gone),
        (patch(1, 2, name="X"), Stale),
        (put(by_external_id("x"), 1, name="X"), Stale),
        (create(name=""), Invalid),
        (create(name="X", email="ALICE@example.org"), Taken),
        (create(name="X", scim={}), Invalid),
        (put(by_external_id("a"), name="X", external_id="b"), Invalid),
    ],
)
async def test_a_refused_operation_stores_nothing_and_has_the_reason(
    batches: BatchService, users: UserService, operation: UserOperation, refused: type[Exception]
) -> None:
    assert type(await refusal(batches, operation)) is refused
    assert [user.name for user in (await users.list(limit=9)).items] == ["Alice", "Bob"]


async def test_a_put_may_repeat_its_external_id(batches: BatchService) -> None:
    [done] = await carried_out(batches, put(by_external_id("x"), name="Xenia", external_id="x"))
    assert (done.is_new, done.refusal) == (True, None)


async def test_an_operation_on_the_expected_version_succeeds(batches: BatchService) -> None:
    [done] = await carried_out(batches, patch(1, 1, name="Alicia"))
    assert done.refusal is None


async def test_refusals_name_the_field_and_the_reason(batches: BatchService) -> None:
    for operation, pointer, code in [
        (create(name="X", scim={}), "/scim", "unknown"),
        (put(by_external_id("a"), name="X", external_id="b"), "/external_id", "not_allowed"),
        (create(name="X", email="alice@example.org"), "/email", "taken"),
    ]:
        refused = await refusal(batches, operation)
        assert isinstance(refused, Invalid)
        assert [(each.pointer, each.code) for each in refused.faults] == [(pointer, code)]


async def test_the_second_operation_on_one_user_is_refused_and_the_others_are_done(batches: BatchService) -> None:
    first, second, third = await carried_out(
        batches, patch(1, name="Alicia"), patch(by_external_id("a"), name="Ally"), patch(2, name="Bobby")
    )
    assert first.user is not None
    assert first.user.name == "Alicia"
    assert isinstance(second.refusal, Invalid)
    assert [each.code for each in second.refusal.faults] == ["duplicate"]
    assert third.user is not None


async def test_the_second_operation_with_the_same_unique_value_is_refused(batches: BatchService) -> None:
    first, second = await carried_out(
        batches, create(name="X", email="x@example.org"), create(name="Y", email="X@example.org")
    )
    assert first.refusal is None
    assert second.refusal is not None


async def test_a_batch_is_atomic_only_if_it_has_to_be(batches: BatchService, users: UserService) -> None:
    refused, done = (await batches.carry_out([create(name=""), create(name="Dora")])).result.done
    assert (refused.user, done.refusal) == (None, None)
    assert done.user is not None
    assert await users.get(done.user.id) == done.user


async def test_an_atomic_batch_does_all_or_nothing_and_names_the_refused_operations(
    batches: BatchService, users: UserService, changes: ChangeService
) -> None:
    before = (await changes.list(since=0, limit=99)).changes
    good, bad, also_good = await carried_out(batches, create(name="Dora"), patch(9, name="X"), delete(1), atomic=True)
    assert (good.user, good.refusal, also_good.user, also_good.refusal) == (None, None, None, None)
    assert isinstance(bad.refusal, NotFound)
    assert (await changes.list(since=0, limit=99)).changes == before

    done = await carried_out(batches, create(name="Dora"), delete(1), atomic=True)
    assert [each.refusal for each in done] == [None, None]
    assert [user.name for user in (await users.list(limit=9)).items] == ["Bob", "Dora"]


async def test_an_address_in_a_form_that_is_not_allowed_is_refused(
    units: MemoryUnitsOfWork, context: RequestContext
) -> None:
    batches = BatchService(units, context, is_email=lambda address: address.endswith(".org"))
    refused = await refusal(batches, create(name="X", email="x@example.com"))
    assert isinstance(refused, Invalid)
    assert [each.pointer for each in refused.faults] == ["/email"]
    assert [each.refusal for each in await carried_out(batches, create(name="X", email="x@example.org"))] == [None]


async def test_an_empty_batch_does_nothing(batches: BatchService) -> None:
    assert await carried_out(batches) == []


async def test_the_stored_answer_of_a_batch_is_about_no_single_user(batches: BatchService) -> None:
    assert (await batches.carry_out([create(name="Dora")])).result.about == NOBODY

"""What can be done with users."""

import pytest

from domain.errors import Conflict, Gone, Invalid, NotFound
from domain.users import NewUser, Status
from domain.values import JsonObject
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.changes import ChangeService
from services.users import UserService


@pytest.fixture
def dry(units: MemoryUnitsOfWork) -> UserService:
    """The same directory, for a caller who only wants to see what would happen."""
    return UserService(units, RequestContext(actor="tester", request_id="r2", dry_run=True))


async def test_creates_a_user(users: UserService) -> None:
    created = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    assert (created.name, created.email, created.version) == ("Alice", "alice@example.org", 1)
    assert await users.get(created.id) == created


async def test_refuses_a_key_that_another_user_has(users: UserService) -> None:
    await users.create(NewUser(name="Alice", email="alice@example.org"))
    with pytest.raises(Conflict) as conflict:
        await users.create(NewUser(name="Bob", email="ALICE@example.org"))
    assert conflict.value.field == "email"
    assert len((await users.list(limit=10)).items) == 1


async def test_does_not_find_whom_it_never_had(users: UserService) -> None:
    for attempt in (users.get(1), users.patch(1, {"name": "Bob"}), users.delete(1)):
        with pytest.raises(NotFound):
            await attempt


async def test_patches_a_user(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org", attributes={"a": 1, "b": 2}))).result
    patched = (await users.patch(alice.id, {"email": None, "status": "suspended", "attributes": {"a": None}})).result
    assert (patched.name, patched.email, patched.status) == ("Alice", None, Status.SUSPENDED)
    assert (patched.attributes, patched.version) == ({"b": 2}, 2)
    assert await users.get(alice.id) == patched


async def test_a_patch_that_breaks_a_rule_changes_nothing(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    with pytest.raises(Invalid):
        await users.patch(alice.id, {"name": "Alicia", "email": ""})
    assert await users.get(alice.id) == alice


async def test_a_patch_may_change_the_spelling_of_a_users_own_key(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    assert ((await users.patch(alice.id, {"email": "Alice@Example.org"})).result).email == "Alice@Example.org"


@pytest.mark.parametrize("patch", [{}, {"name": "Alice"}, {"attributes": {"a": 1, "gone": None}}, {"email": None}])
async def test_a_patch_that_changes_nothing_writes_nothing(
    users: UserService, changes: ChangeService, patch: JsonObject
) -> None:
    alice = (await users.create(NewUser(name="Alice", attributes={"a": 1}))).result
    assert (await users.patch(alice.id, patch)).result == alice
    assert await users.get(alice.id) == alice
    assert len((await changes.list(since=0, limit=10)).changes) == 1


@pytest.mark.parametrize("value", [True, 1.0, [1]])
async def test_a_patch_may_turn_a_number_into_what_python_takes_for_equal(users: UserService, value: object) -> None:
    alice = (await users.create(NewUser(name="Alice", attributes={"a": 1}))).result
    await users.patch(alice.id, {"attributes": {"a": value}})  # type: ignore[dict-item]
    assert repr((await users.get(alice.id)).attributes) == repr({"a": value})


async def test_hides_a_deleted_user_and_releases_its_keys(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    await users.delete(alice.id)
    for attempt in (users.get(alice.id), users.patch(alice.id, {"name": "Bob"}), users.delete(alice.id)):
        with pytest.raises(Gone):
            await attempt
    assert (await users.list(limit=10)).items == []
    again = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    assert again.id != alice.id


async def test_lists_page_by_page(users: UserService) -> None:
    created = [(await users.create(NewUser(name=f"User {number}"))).result for number in range(5)]
    first = await users.list(limit=2)
    second = await users.list(after=(first.items[-1].id,), limit=2)
    third = await users.list(after=(second.items[-1].id,), limit=2)
    assert [*first.items, *second.items, *third.items] == created
    assert (first.more, second.more, third.more) == (True, True, False)


async def test_a_full_last_page_has_no_more(users: UserService) -> None:
    for number in range(2):
        await users.create(NewUser(name=f"User {number}"))
    assert not (await users.list(limit=2)).more


async def test_a_dry_run_answers_and_stores_nothing(
    users: UserService, dry: UserService, changes: ChangeService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    assert ((await dry.create(NewUser(name="Bob"))).result).name == "Bob"
    assert ((await dry.patch(alice.id, {"name": "Alicia"})).result).name == "Alicia"
    await dry.delete(alice.id)
    assert (await users.list(limit=10)).items == [alice]
    assert len((await changes.list(since=0, limit=10)).changes) == 1


async def test_a_dry_run_is_refused_like_a_true_one(users: UserService, dry: UserService) -> None:
    await users.create(NewUser(name="Alice", email="alice@example.org"))
    with pytest.raises(Conflict):
        await dry.create(NewUser(name="Bob", email="alice@example.org"))
    with pytest.raises(NotFound):
        await dry.delete(7)

"""What can be done with users."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import pytest
from tests import exports

import services.lists
import services.users
from domain.errors import Conflict, Gone, Invalid, NotFound, Stale
from domain.idempotency import Committed
from domain.lists.pages import parse_sort
from domain.lists.terms import parse_filter
from domain.users import FIELDS, NewUser, Status, User
from domain.values import JsonObject
from domain.versions import NOT_THERE
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.changes import ChangeService
from services.users import UserService


@pytest.fixture
def dry(units: MemoryUnitsOfWork) -> UserService:
    """The same directory, for a caller that makes a dry run."""
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


async def test_an_unknown_user_is_not_found(users: UserService) -> None:
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
async def test_a_patch_can_replace_a_number_by_a_value_that_python_compares_as_equal(
    users: UserService, value: object
) -> None:
    alice = (await users.create(NewUser(name="Alice", attributes={"a": 1}))).result
    await users.patch(alice.id, {"attributes": {"a": value}})  # type: ignore[dict-item]
    assert repr((await users.get(alice.id)).attributes) == repr({"a": value})


async def test_a_deleted_user_is_hidden_and_its_keys_are_free(users: UserService) -> None:
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


async def test_a_dry_run_returns_a_result_and_stores_nothing(
    users: UserService, dry: UserService, changes: ChangeService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    assert ((await dry.create(NewUser(name="Bob"))).result).name == "Bob"
    assert ((await dry.patch(alice.id, {"name": "Alicia"})).result).name == "Alicia"
    await dry.delete(alice.id)
    assert (await users.list(limit=10)).items == [alice]
    assert len((await changes.list(since=0, limit=10)).changes) == 1


async def test_a_dry_run_is_refused_like_a_real_run(users: UserService, dry: UserService) -> None:
    await users.create(NewUser(name="Alice", email="alice@example.org"))
    with pytest.raises(Conflict):
        await dry.create(NewUser(name="Bob", email="alice@example.org"))
    with pytest.raises(NotFound):
        await dry.delete(7)


async def names_exported(users: UserService, **asked: Any) -> list[list[str]]:
    return [[user.name for user in batch] for batch in await exports.batches(users.export(exports.USERS, **asked))]


async def create_named(users: UserService, *names: str) -> None:
    for name in names:
        await users.create(NewUser(name=name, external_id=name))


async def test_lists_matching_users_in_the_requested_order(users: UserService) -> None:
    await create_named(users, "Bob", "Alice", "Carol", "Bert")
    sort, from_b = parse_sort("-name", FIELDS), parse_filter('name sw "b"', FIELDS)

    assert [user.name for user in (await users.list(sort=sort, limit=9)).items] == ["Carol", "Bob", "Bert", "Alice"]
    assert [user.name for user in (await users.list(filter=from_b, sort=sort, limit=9)).items] == ["Bob", "Bert"]
    assert await users.count(from_b) == 2
    assert await users.count() == 4


@pytest.mark.parametrize(
    ("field", "value"), [("email", "ALICE@example.org"), ("username", "alice"), ("external_id", "x")]
)
async def test_finds_a_user_by_each_unique_field(users: UserService, field: str, value: str) -> None:
    await users.create(NewUser(name="Bob"))
    alice = await users.create(NewUser(name="Alice", email="alice@example.org", username="Alice", external_id="x"))
    assert await users.find(field, value) == alice.result
    with pytest.raises(NotFound):
        await users.find(field, "nobody")


async def test_exports_everybody_in_batches_that_follow_each_other(
    users: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.lists, "MAX_LIMIT", 2)
    await create_named(users, "Bob", "Alice", "Carol", "Bert", "Dora")

    assert await names_exported(users) == [["Bob", "Alice"], ["Carol", "Bert"], ["Dora"]]
    assert await names_exported(
        users, sort=parse_sort("-name", FIELDS), filter=parse_filter('name ne "bob"', FIELDS)
    ) == [
        ["Dora", "Carol"],
        ["Bert", "Alice"],
    ]


async def test_an_export_shows_one_moment(users: UserService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.lists, "MAX_LIMIT", 1)
    await create_named(users, "Alice", "Bob")
    exported = []
    async for page in users.export(exports.USERS):
        exported += [user.name for user in exports.read(page.items)]
        await users.patch(2, {"name": "Robert"})
        await users.create(NewUser(name="Carol"))
    assert exported == ["Alice", "Bob"]


async def test_a_write_returns_the_number_of_its_change(users: UserService, changes: ChangeService) -> None:
    """A write that changed nothing has no number."""
    new = NewUser(name="Alice", external_id="x")
    numbers = [
        (await users.create(new)).seq,
        (await users.patch(1, {"name": "Alicia"})).seq,
        (await users.patch(1, {"name": "Alicia"})).seq,
        (await users.put(new)).seq,
        (await users.put(new)).seq,
        (await users.restore(1)).seq,
        (await users.delete(1)).seq,
        (await users.restore(1)).seq,
        (await users.put(NewUser(name="Bob", external_id="y"))).seq,
        (await users.purge(1)).seq,
    ]
    assert numbers == [1, 2, None, 3, None, None, 4, 5, 6, 7]
    assert [change.seq for change in (await changes.list(since=0, limit=99)).changes] == list(range(1, 8))


async def test_a_put_creates_or_replaces_a_user(users: UserService) -> None:
    created, was_created = (await users.put(NewUser(name="Alice", external_id="x", email="a@example.org"))).result
    assert (was_created, created.name, created.version) == (True, "Alice", 1)

    replaced, was_created = (await users.put(NewUser(name="Alicia", external_id="x"))).result
    assert (was_created, replaced.id, replaced.version) == (False, created.id, 2)
    assert (replaced.name, replaced.email) == ("Alicia", None)
    assert await users.get(created.id) == replaced


async def test_a_put_that_changes_nothing_writes_nothing(users: UserService, changes: ChangeService) -> None:
    new = NewUser(name="Alice", external_id="x")
    created, _ = (await users.put(new)).result
    again, was_created = (await users.put(new)).result
    assert (again, was_created) == (created, False)
    assert await users.get(created.id) == created
    assert len((await changes.list(since=0, limit=9)).changes) == 1


async def test_only_a_user_with_an_external_id_can_be_put(users: UserService) -> None:
    with pytest.raises(ValueError, match="external id"):
        await users.put(NewUser(name="Alice"))
    assert await users.count() == 0


@pytest.mark.parametrize(
    ("expected", "unwanted", "is_put"),
    [
        (None, (), True),
        ([2], (), True),
        ([1, 2], (), True),
        ([1], (), False),
        ([], (), False),
        (None, [1, NOT_THERE], True),
        (None, [2], False),
        ([2], [2], False),
    ],
)
async def test_a_put_replaces_a_user_only_at_an_expected_version(
    users: UserService, expected: Collection[int] | None, unwanted: Collection[int], is_put: bool
) -> None:
    await create_named(users, "x")
    before = (await users.patch(1, {"name": "Alice"})).result
    put = users.put(NewUser(name="Alicia", external_id="x"), expected=expected, unwanted=unwanted)
    if is_put:
        assert (await put).result == (await users.get(1), False)
        assert (await users.get(1)).name == "Alicia"
    else:
        with pytest.raises(Stale):
            await put
        assert await users.get(1) == before


@pytest.mark.parametrize(
    ("expected", "unwanted", "is_put"),
    [([NOT_THERE], (), True), ([1], (), False), (None, [NOT_THERE], False), (None, [1], True)],
)
async def test_a_put_creates_a_user_only_if_no_version_is_expected(
    users: UserService, expected: Collection[int] | None, unwanted: Collection[int], is_put: bool
) -> None:
    put = users.put(NewUser(name="Alice", external_id="x"), expected=expected, unwanted=unwanted)
    if is_put:
        assert (await put).result == (await users.get(1), True)
    else:
        with pytest.raises(Stale):
            await put
        assert await users.count() == 0


async def test_a_put_is_refused_for_a_key_that_another_user_has(users: UserService) -> None:
    await users.create(NewUser(name="Bob", email="b@example.org"))
    with pytest.raises(Conflict) as refused:
        await users.put(NewUser(name="Alice", external_id="x", email="B@example.org"))
    assert refused.value.field == "email"
    assert await users.count() == 1


async def test_two_puts_at_once_of_a_new_user_are_a_creation_and_a_replacement(
    users: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second put reads before the first one has created the user, which can happen on PostgreSQL."""
    await users.put(NewUser(name="Alice", external_id="x"))
    looks: list[str] = []

    async def too_early(store: Any, external_id: str, restore: bool) -> Any:
        looks.append(external_id)
        return None if len(looks) == 1 else await store.find("external_id", external_id)

    monkeypatch.setattr(services.users, "find_or_none", too_early)
    second = await users.put(NewUser(name="Alicia", external_id="x"), expected=[NOT_THERE, 1], unwanted=[7])

    assert looks == ["x", "x"]
    assert second.result == (await users.get(1), False)
    assert (await users.get(1)).name == "Alicia"


async def test_a_put_that_lost_a_race_is_still_checked_against_its_expected_version(
    users: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests with If-None-Match: * at once: one creates the user, the other one is refused."""
    alice, _ = (await users.put(NewUser(name="Alice", external_id="x"))).result
    looks: list[str] = []

    async def too_early(store: Any, external_id: str, restore: bool) -> Any:
        looks.append(external_id)
        return None if len(looks) % 2 else await store.find("external_id", external_id)

    monkeypatch.setattr(services.users, "find_or_none", too_early)
    refused: list[dict[str, Any]] = [{"expected": [NOT_THERE]}, {"unwanted": [1]}]
    for asked in refused:
        with pytest.raises(Stale):
            await users.put(NewUser(name="Alicia", external_id="x"), **asked)
    assert await users.get(1) == alice


VERSIONED: Final[dict[str, Callable[[UserService, Collection[int] | None], Awaitable[object]]]] = {
    "patch": lambda users, expected: users.patch(1, {"name": "Alicia"}, expected=expected),
    "patch that changes nothing": lambda users, expected: users.patch(1, {}, expected=expected),
    "delete": lambda users, expected: users.delete(1, expected=expected),
    "purge": lambda users, expected: users.purge(1, expected=expected),
}


@pytest.mark.parametrize("write", VERSIONED.values(), ids=VERSIONED)
async def test_an_unexpected_version_is_stale_and_nothing_is_written(
    users: UserService,
    changes: ChangeService,
    write: Callable[[UserService, Collection[int] | None], Awaitable[object]],
) -> None:
    await create_named(users, "x")
    before = (await users.patch(1, {"name": "Alice"})).result
    for unexpected in ([1], [1, 3], []):
        with pytest.raises(Stale):
            await write(users, unexpected)
        assert await users.get(1) == before
    await write(users, [1, 2])


@pytest.mark.parametrize("write", VERSIONED.values(), ids=VERSIONED)
async def test_a_write_without_an_expected_version_accepts_any(
    users: UserService, write: Callable[[UserService, Collection[int] | None], Awaitable[object]]
) -> None:
    await create_named(users, "x")
    await write(users, None)


async def test_a_deleted_user_is_restored_with_all_its_values(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    deleted = (await users.delete(alice.id)).result
    assert deleted.is_hidden
    restored = (await users.restore(alice.id)).result
    assert (restored.name, restored.email, restored.deleted_at) == ("Alice", "alice@example.org", None)
    assert await users.get(alice.id) == restored
    assert await users.find("email", "alice@example.org") == restored


async def test_restoring_a_user_that_is_not_deleted_changes_nothing(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    assert (await users.restore(alice.id)).result == alice
    assert await users.get(alice.id) == alice


async def test_a_user_is_not_restored_while_another_one_has_its_key(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice", username="alice"))).result
    await users.delete(alice.id)
    await users.create(NewUser(name="Another", username="ALICE"))
    with pytest.raises(Conflict) as refused:
        await users.restore(alice.id)
    assert refused.value.field == "username"
    with pytest.raises(Gone):
        await users.get(alice.id)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_purge_erases_a_user_and_the_values_of_its_changes(
    users: UserService, changes: ChangeService, is_deleted: bool
) -> None:
    await create_named(users, "Alice", "Bob")
    if is_deleted:
        await users.delete(1)

    assert (await users.purge(1)).result is None

    for attempt in (users.get(1), users.restore(1), users.purge(1)):
        with pytest.raises(NotFound):
            await attempt
    history = (await changes.list_about(User, 1, since=0, limit=9)).changes
    assert {(change.before, change.after) for change in history} == {(None, None)}
    assert "Alice" not in repr(await changes.list(since=0, limit=99))
    assert (await users.get(2)).name == "Bob"


async def test_a_change_by_a_function_is_stored_unless_it_changes_nothing(
    users: UserService,
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    changed = (await users.change(alice.id, lambda user: user.revised(name="Alicia"), expected={1})).result
    assert (changed.name, changed.version) == ("Alicia", 2)
    assert await users.change(alice.id, lambda user: user) == Committed(changed)
    with pytest.raises(Stale):
        await users.change(alice.id, lambda user: user.revised(name="B"), expected={1})
    assert await users.get(alice.id) == changed


async def test_a_deleted_user_of_scim_is_restored_by_its_external_id(users: UserService) -> None:
    first = (await users.enrol(NewUser(name="Alice", external_id="x", scim={"title": "t"}))).result
    await users.patch(first.id, {"attributes": {"a": 1}})
    await users.delete(first.id)

    back = (await users.enrol(NewUser(name="Alicia", external_id="x", scim={"title": "u"}))).result

    assert (back.id, back.name, back.scim, back.attributes) == (first.id, "Alicia", {"title": "u"}, {"a": 1})
    assert not back.is_hidden
    assert await users.get(first.id) == back


async def test_a_suspended_user_of_scim_is_activated_by_its_external_id(users: UserService) -> None:
    first = (await users.enrol(NewUser(name="Alice", external_id="x", scim={}))).result
    await users.patch(first.id, {"status": "suspended"})
    back = (await users.enrol(NewUser(name="Alice", external_id="x", scim={}))).result
    assert (back.id, back.status) == (first.id, Status.ACTIVE)


async def test_active_users_and_users_that_scim_did_not_create_are_not_restored(users: UserService) -> None:
    await users.enrol(NewUser(name="Alice", external_id="x", scim={}))
    suspended = await users.create(NewUser(name="Bob", external_id="y", status=Status.SUSPENDED))
    deleted = await users.create(NewUser(name="Carol", external_id="z"))
    await users.delete(deleted.result.id)

    for taken in ("x", "y"):
        with pytest.raises(Conflict):
            await users.enrol(NewUser(name="New", external_id=taken, scim={}))
    assert (await users.enrol(NewUser(name="New", external_id="z", scim={}))).result.id > suspended.result.id
    assert (await users.enrol(NewUser(name="New", scim={}))).result.external_id is None


async def test_many_users_are_restored_together_or_none_if_an_identifier_is_taken(users: UserService) -> None:
    ids = [(await users.create(NewUser(name=name, email=f"{name}@x.org"))).result.id for name in "ab"]
    await users.delete_many(ids)
    heir = (await users.create(NewUser(name="Heir", email="b@x.org"))).result
    with pytest.raises(Conflict):
        await users.restore_many(ids)
    assert all(user.is_hidden for user in await users.get_many(ids))
    await users.delete(heir.id)
    assert (await users.restore_many([*ids, 99])).result == 2
    assert (await users.restore_many(ids)).result == 0
    assert not any(user.is_hidden for user in await users.get_many(ids))


async def test_a_put_with_restore_restores_the_last_user_with_the_external_id(users: UserService) -> None:
    new = NewUser(name="Alice", external_id="hr-1")
    for _ in range(2):
        last = (await users.put(new)).result[0]
        await users.delete(last.id)
    restored, created = (await users.put(new, restore=True)).result
    assert (restored.id, restored.is_hidden, created) == (last.id, False, False)
    other, created = (await users.put(NewUser(name="Bob", external_id="hr-2"), restore=True)).result
    assert (other.id, created) == (last.id + 1, True)


async def test_an_email_in_a_form_that_is_not_allowed_is_refused_by_every_write(units: MemoryUnitsOfWork) -> None:
    context = RequestContext(actor="tester", request_id="r1")
    users = UserService(units, context, is_email=lambda text: "@" in text)
    wrong = NewUser(name="Alice", email="alice", external_id="hr-1")
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    for attempt in (users.create(wrong), users.put(wrong), users.patch(alice.id, {"email": "alice"})):
        with pytest.raises(Invalid) as refused:
            await attempt
        assert [fault.pointer for fault in refused.value.faults] == ["/email"]

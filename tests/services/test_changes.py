"""What can be asked of the record of changes."""

import pytest

from domain.changes import Action
from domain.errors import NotFound
from domain.users import NewUser
from services.changes import ChangeService
from services.users import UserService


async def test_tells_what_happened_in_its_order(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    bob = (await users.create(NewUser(name="Bob"))).result
    await users.patch(alice.id, {"name": "Alicia"})
    await users.delete(bob.id)
    told = (await changes.list(since=0, limit=10)).changes
    assert [(change.entity_id, change.action) for change in told] == [
        (alice.id, Action.CREATED),
        (bob.id, Action.CREATED),
        (alice.id, Action.UPDATED),
        (bob.id, Action.DELETED),
    ]


async def test_goes_on_after_the_last_number_seen(users: UserService, changes: ChangeService) -> None:
    for number in range(3):
        await users.create(NewUser(name=f"User {number}"))
    [first] = (await changes.list(since=0, limit=1)).changes
    rest = (await changes.list(since=first.seq, limit=10)).changes
    assert [change.entity_id for change in rest] == [2, 3]
    assert (await changes.list(since=rest[-1].seq, limit=10)).changes == []


async def test_tells_the_history_of_one_user(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.create(NewUser(name="Bob"))
    await users.patch(alice.id, {"name": "Alicia"})
    told = (await changes.list_of_user(alice.id, since=0, limit=10)).changes
    assert [(change.version, change.after) for change in told[1:]] == [(2, {"name": "Alicia"})]
    assert {change.entity_id for change in told} == {alice.id}


async def test_tells_the_history_of_a_deleted_user_too(users: UserService, changes: ChangeService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.delete(alice.id)
    assert [change.action for change in (await changes.list_of_user(alice.id, since=0, limit=10)).changes] == [
        Action.CREATED,
        Action.DELETED,
    ]


async def test_a_history_that_was_read_to_its_end_is_empty_not_missing(
    users: UserService, changes: ChangeService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    [change] = (await changes.list_of_user(alice.id, since=0, limit=10)).changes
    assert (await changes.list_of_user(alice.id, since=change.seq, limit=10)).changes == []


@pytest.mark.parametrize("id", [0, -1, 1, 2**53, 2**63, 2**70])
async def test_there_is_no_history_of_whom_there_never_was(changes: ChangeService, id: int) -> None:
    with pytest.raises(NotFound):
        await changes.list_of_user(id, since=0, limit=10)

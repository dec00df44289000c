"""A whole list shows one moment, whatever others write while it is read."""

from collections.abc import Sequence

import pytest
from tests import exports

from domain.lists.pages import parse_sort
from domain.users import FIELDS, NewUser, User
from domain.work import UnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.lists.MAX_LIMIT", 2)


async def create(users: UserService, *names: str) -> Sequence[User]:
    return [(await users.create(NewUser(name=name))).result for name in names]


async def test_an_export_of_an_empty_directory_has_no_batch(users: UserService) -> None:
    assert await exports.batches(users.export(exports.USERS)) == [[]]


async def test_an_export_has_every_user_once_in_batches(users: UserService) -> None:
    everybody = await create(users, "Eve", "Dan", "Carol", "Bob", "Alice")

    by_id = await exports.batches(users.export(exports.USERS))
    by_name = await exports.everything(users.export(exports.USERS, sort=parse_sort("name", FIELDS)))

    assert [len(batch) for batch in by_id] == [2, 2, 1]
    assert [user.id for batch in by_id for user in batch] == [user.id for user in everybody]
    assert [user.id for user in by_name] == [user.id for user in everybody[::-1]]


async def test_writes_between_two_batches_are_not_in_the_export(users: UserService) -> None:
    before = await create(users, "Alice", "Bob", "Carol", "Dan", "Eve")
    export = users.export(exports.USERS)
    seen = exports.read((await anext(export)).items)

    await create(users, "Frank", "Grace")
    await users.delete(before[1].id)
    await users.delete(before[3].id)
    await users.purge(before[4].id)
    await users.patch(before[2].id, {"name": "Caroline"})

    seen += await exports.everything(export)
    now = [user.name for user in await exports.everything(users.export(exports.USERS))]
    assert [(user.id, user.name, user.version) for user in seen] == [(user.id, user.name, 1) for user in before]
    assert now == ["Alice", "Caroline", "Frank", "Grace"]


async def test_without_a_snapshot_writes_between_two_batches_are_in_the_export(
    units: UnitsOfWork, users: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "snapshot", lambda _: units.reading())
    await create(users, "Alice", "Bob", "Carol")
    export = users.export(exports.USERS)
    seen = exports.read((await anext(export)).items)

    await create(users, "Dan")

    seen += await exports.everything(export)
    assert [user.name for user in seen] == ["Alice", "Bob", "Carol", "Dan"]


async def test_writes_are_not_blocked_while_an_export_is_read(users: UserService) -> None:
    await create(users, "Alice", "Bob", "Carol")
    both = [users.export(exports.USERS) for _ in range(2)]
    for export in both:
        await anext(export)

    (dan,) = await create(users, "Dan")

    assert await users.get(dan.id) == dan
    assert (await users.list(limit=10)).items[-1] == dan
    for export in both:
        await export.aclose()

"""A whole list shows one moment, whatever others write while it is read."""

from collections.abc import Sequence

import pytest

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
    assert [list(batch) async for batch in users.export()] == [[]]


async def test_an_export_has_every_user_once_in_batches(users: UserService) -> None:
    everybody = await create(users, "Eve", "Dan", "Carol", "Bob", "Alice")

    by_id = [batch async for batch in users.export()]
    by_name = [user async for batch in users.export(sort=parse_sort("name", FIELDS)) for user in batch]

    assert [len(batch) for batch in by_id] == [2, 2, 1]
    assert [user for batch in by_id for user in batch] == everybody
    assert by_name == everybody[::-1]


async def test_writes_between_two_batches_are_not_in_the_export(users: UserService) -> None:
    before = await create(users, "Alice", "Bob", "Carol", "Dan", "Eve")
    export = users.export()
    seen = list(await anext(export))

    await create(users, "Frank", "Grace")
    await users.delete(before[1].id)
    await users.delete(before[3].id)
    await users.purge(before[4].id)
    await users.patch(before[2].id, {"name": "Caroline"})

    seen += [user async for batch in export for user in batch]
    now = [user.name async for batch in users.export() for user in batch]
    assert seen == before
    assert now == ["Alice", "Caroline", "Frank", "Grace"]


async def test_without_a_snapshot_writes_between_two_batches_are_in_the_export(
    units: UnitsOfWork, users: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "snapshot", lambda _: units.reading())
    await create(users, "Alice", "Bob", "Carol")
    export = users.export()
    seen = list(await anext(export))

    await create(users, "Dan")

    seen += [user async for batch in export for user in batch]
    assert [user.name for user in seen] == ["Alice", "Bob", "Carol", "Dan"]


async def test_writes_are_not_blocked_while_an_export_is_read(users: UserService) -> None:
    await create(users, "Alice", "Bob", "Carol")
    exports = [users.export() for _ in range(2)]
    for export in exports:
        await anext(export)

    (dan,) = await create(users, "Dan")

    assert await users.get(dan.id) == dan
    assert (await users.list(limit=10)).items[-1] == dan
    for export in exports:
        await export.aclose()

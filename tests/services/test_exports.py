"""The export of all data about one person."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from domain.errors import NotFound
from domain.groups import NewGroup
from domain.lists.terms import parse_filter
from domain.users import FIELDS, NewUser, Status
from domain.values import JsonObject
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services import exports
from services.exports import ExportService, PersonPart
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService


async def parts_of(units: MemoryUnitsOfWork, context: RequestContext, id: int) -> list[PersonPart]:
    return [part async for part in ExportService(units, context).person(id)]


async def test_an_export_has_the_user_its_memberships_and_all_its_changes(
    units: MemoryUnitsOfWork, context: RequestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, groups = UserService(units, context), GroupService(units, context)
    memberships = MembershipService(units, context)
    monkeypatch.setattr(exports, "MAX_LIMIT", 2)
    for name in ("Alice", "Bob"):
        await users.create(NewUser(name=name))
    for number in range(1, 6):
        await groups.create(NewGroup(name=f"Group {number}"))
        await memberships.put(number, 1)
    await memberships.put(1, 2)
    await users.delete(1)

    parts = await parts_of(units, context, 1)

    assert parts[0].changes == ()
    assert all(part.user == parts[0].user for part in parts)
    assert all([each.group_id for each in part.memberships] == [1, 2, 3, 4, 5] for part in parts)
    changes = [change for part in parts for change in part.changes]
    assert [each.action for each in changes if each.kind == "user"] == ["created", "deleted"]
    assert len([each for each in changes if each.action == "created"]) == 6
    assert [each.seq for each in changes] == sorted({each.seq for each in changes})
    assert all(len(part.changes) <= 2 for part in parts)


async def test_the_export_of_an_unknown_user_is_not_found(units: MemoryUnitsOfWork, context: RequestContext) -> None:
    with pytest.raises(NotFound):
        await parts_of(units, context, 1)


async def rows(pieces: AsyncGenerator[Sequence[JsonObject]]) -> list[JsonObject]:
    return [row async for piece in pieces for row in piece]


async def test_the_whole_directory_is_exported_as_rows_of_an_import(
    users: UserService, groups: GroupService, memberships: MembershipService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_LIMIT", 2)
    await users.create(NewUser(name="Alice", email="alice@x.org", attributes={"floor": 3}))
    await users.create(NewUser(name="Bob", status=Status.SUSPENDED))
    for name in ("Carol", "Gone", "Dora"):
        await users.create(NewUser(name=name))
    for name in ("Engineers", "Makers", "Deleted", "Parts"):
        await groups.create(NewGroup(name=name))
    for id, child in ((1, 2), (3, 2), (1, 3), (2, 4)):
        await groups.nest(id, child)
    for group_id, user_id, given in ((1, 1, {"role": "lead"}), (2, 1, {}), (1, 2, {}), (3, 2, {}), (1, 4, {})):
        await memberships.put(group_id, user_id, given)
    await users.delete(4)
    await groups.delete(3)

    assert await rows(ExportService(users.units, users.context).everything()) == [
        {"kind": "group", "name": "Engineers"},
        {"kind": "group", "name": "Makers"},
        {"kind": "group", "name": "Parts"},
        {"kind": "nesting", "group": "Engineers", "child": "Makers"},
        {"kind": "nesting", "group": "Makers", "child": "Parts"},
        {
            "name": "Alice",
            "email": "alice@x.org",
            "attributes": {"floor": 3},
            "groups": [{"name": "Engineers", "role": "lead"}, "Makers"],
        },
        {"name": "Bob", "status": "suspended", "groups": ["Engineers"]},
        {"name": "Carol"},
        {"name": "Dora"},
    ]


async def test_users_who_match_a_filter_are_exported_without_their_groups(
    users: UserService, groups: GroupService, memberships: MembershipService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_LIMIT", 2)
    for name in ("Alice", "Bob", "Alina", "Albert"):
        await users.create(NewUser(name=name))
    await groups.create(NewGroup(name="Engineers"))
    await memberships.put(1, 1)
    service = ExportService(users.units, users.context)
    found = await rows(service.users(parse_filter('name sw "Al"', FIELDS)))
    assert found == [{"name": "Alice"}, {"name": "Alina"}, {"name": "Albert"}]


async def test_the_export_of_a_person_comes_from_the_primary(users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    users.context.min_seq = 1
    assert len(await parts_of(users.units, users.context, 1)) == 2  # type: ignore[arg-type]
    assert users.context.min_seq is None

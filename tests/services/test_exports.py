"""The export of all data about one person."""

import pytest

from domain.errors import NotFound
from domain.groups import NewGroup
from domain.users import NewUser
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

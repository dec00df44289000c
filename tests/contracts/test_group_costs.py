"""What a change of members costs does not depend on the size of the group: the same statements, by indexes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from domain.groups import NewGroup
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.postgres import executors as postgres_executors
from repositories.engines.sqlite import executors as sqlite_executors
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.statements import Prepared, prepare
from repositories.work.units_of_work import SqlUnitsOfWork
from services.groups import GroupService
from services.memberships import MembershipService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
SMALL, LARGE = 1, 2
SIZES: Final = {SMALL: 3, LARGE: 300}
NEWCOMER: Final = 301

Call = Callable[[GroupService, MembershipService, int], Awaitable[Any]]
CALLS: Final[Mapping[str, Call]] = {
    "add one": lambda _, members, group: members.put(group, NEWCOMER),
    "change a role": lambda _, members, group: members.put(group, 1, {"role": "lead"}),
    "remove one": lambda _, members, group: members.remove(group, 2),
    "add and remove many": lambda _, members, group: members.change(group, add={NEWCOMER: {}}, remove=[1]),
    "look up one": lambda _, members, group: members.get(group, 1),
    "rename": lambda groups, _, group: groups.patch(group, {"name": f"renamed {group}"}),
    "delete": lambda groups, _, group: groups.delete(group),
}


@pytest.fixture(params=["sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> SqlUnitsOfWork:
    return SqlUnitsOfWork(request.getfixturevalue(request.param))


async def fill(units: SqlUnitsOfWork) -> None:
    """A small and a large group."""
    async with units.writing(CONTEXT) as work:
        await work.users.add_many([NewUser(name=f"User {number}") for number in range(NEWCOMER)])
        await work.groups.add_many([NewGroup(name=f"Group {number}") for number in SIZES])
        await work.commit(None)
    for group, size in SIZES.items():
        await MembershipService(units, CONTEXT).change(group, add={id: {} for id in range(1, size + 1)})


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Prepared]:
    """Every statement that runs, as the driver gets it."""
    statements: list[Prepared] = []

    def noting(prepare: Callable[..., Prepared]) -> Callable[..., Prepared]:
        def prepare_and_note(*arguments: Any) -> Prepared:
            statements.append(prepare(*arguments))
            return statements[-1]

        return prepare_and_note

    for engine in (sqlite_executors, postgres_executors):
        monkeypatch.setattr(engine, "prepare", noting(prepare))
    return statements


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_a_change_runs_the_same_statements_in_a_large_group_as_in_a_small_one(
    units: SqlUnitsOfWork, ran: list[Prepared], call: Call
) -> None:
    await fill(units)
    groups, members = GroupService(units, CONTEXT), MembershipService(units, CONTEXT)
    texts: list[list[str]] = []
    for group in SIZES:
        ran.clear()
        await call(groups, members, group)
        texts.append([each.sql for each in ran])
    small, large = texts
    assert large == small
    assert 0 < len(small) < 15


async def test_deleting_and_restoring_users_takes_the_same_statements_for_many_as_for_a_few(
    units: SqlUnitsOfWork, ran: list[Prepared]
) -> None:
    await fill(units)
    texts: list[list[str]] = []
    for ids in (range(1, 3), range(3, 100)):
        ran.clear()
        async with units.writing(CONTEXT) as work:
            gone = await work.users.save_many([each.deleted(work.now) for each in await work.users.get_many(ids)])
            await work.commit(None)
        async with units.writing(CONTEXT) as work:
            await work.users.save_many([each.restored() for each in gone])
            await work.commit(None)
        texts.append([each.sql for each in ran])
    few, many = texts
    assert many == few


@pytest.mark.parametrize("units", ["sqlite"], indirect=True)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_no_statement_of_a_change_reads_a_whole_table(
    units: SqlUnitsOfWork, sqlite: SqliteDatabase, ran: list[Prepared], call: Call
) -> None:
    await fill(units)
    ran.clear()
    await call(GroupService(units, CONTEXT), MembershipService(units, CONTEXT), LARGE)
    assert sqlite._reading is not None
    for each in {each.sql: each for each in ran}.values():
        values = ["[]" if name == "rows" else 1 for name, _ in each.order]
        rows = await sqlite._reading.execute_fetchall("EXPLAIN QUERY PLAN " + each.sql, values)
        plan = "\n".join(row[3] for row in rows)
        assert not [name for name in ("memberships", "users", "groups") if f"SCAN {name}" in plan], (each.sql, plan)

"""Pages of lists: each says which state it shows and whether more follows, and has the requested fields."""

from dataclasses import fields
from typing import Any

import pytest

from domain.lists.pages import parse_sort
from domain.lists.terms import parse_filter
from domain.stores import Hidden
from domain.users import FIELDS, NewUser, User
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.statements import Parameters, Rows
from repositories.tables.store import SqlReadStore
from repositories.units import Reading
from repositories.users import USERS
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService


async def last(units: UnitsOfWork) -> int:
    async with units.reading() as work:
        return await work.changes.last()


async def test_a_page_has_the_number_of_the_last_change(units: UnitsOfWork, users: UserService) -> None:
    for name in ("Alice", "Bob", "Carol"):
        await users.create(NewUser(name=name))
    await users.patch(1, {"name": "Alicia"})
    async with units.reading() as work:
        whole = await work.users.page(limit=2)
        found = await work.users.page(filter=parse_filter('name sw "b"', FIELDS), limit=2)
    assert ([each.name for each in whole], whole.more, whole.seq) == (["Alicia", "Bob"], True, await last(units))
    assert ([each.name for each in found], found.more, found.seq) == (["Bob"], False, await last(units))


async def test_an_empty_page_has_the_number_of_the_last_change(units: UnitsOfWork, users: UserService) -> None:
    async with units.reading() as work:
        assert ((await work.users.page(limit=2)).seq, (await work.groups.page(limit=2)).seq) == (0, 0)
    await users.create(NewUser(name="Alice"))
    async with units.reading() as work:
        empty = await work.groups.page(limit=2)
        assert (list(empty), empty.more, empty.seq) == ([], False, await last(units))


async def test_a_page_in_a_writing_unit_shows_its_writes_and_the_last_committed_change(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    before = await last(units)
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Bob"))
        page = await work.users.page(limit=9)
    assert ([each.name for each in page], page.seq) == (["Alice", "Bob"], before)


NAMES = [each.name for each in fields(User)]


class Counting:
    """An executor that counts what it is asked."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.asked = 0
        self.columns: list[Any] = []

    async def fetch(self, statement: Any, parameters: Parameters | None = None) -> Rows:
        self.asked += 1
        self.columns = list(statement.exported_columns)
        return await self._database.reader.fetch(statement, parameters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._database.reader, name)


@pytest.mark.parametrize("text", [None, 'email eq "a"'])
async def test_a_page_takes_one_statement(sqlite: SqliteDatabase, text: str | None) -> None:
    await UserService(SqlUnitsOfWork(sqlite), RequestContext(actor="a", request_id="r")).create(
        NewUser(name="A", email="a")
    )
    executor = Counting(sqlite)
    store = SqlReadStore(USERS, Reading(executor, executor, database=sqlite))  # type: ignore[arg-type]

    page = await store.page(filter=None if text is None else parse_filter(text, FIELDS), limit=9)

    assert (len(page), page.seq, executor.asked) == (1, 1, 1)


@pytest.mark.parametrize("sort", ["id", "name", "-created_at", "status,-name", "email,-id"])
async def test_a_page_has_only_the_requested_fields_and_those_that_the_next_page_needs(
    units: UnitsOfWork, users: UserService, sort: str
) -> None:
    for name in ("Carol", "Alice", "Bob"):
        await users.create(NewUser(name=name, email=name if name != "Bob" else None, attributes={"a": name}))
    order = parse_sort(sort, FIELDS)
    only = frozenset({"username", "attributes"})
    async with units.reading() as work:
        whole = await work.users.page(sort=order, limit=9)
        first = await work.users.page(sort=order, limit=1, only=only)
        second = await work.users.page(sort=order, after=order.position(first.items[-1]), limit=9, only=only)
    assert (first.more, second.more, first.seq) == (True, False, whole.seq)
    had = only | {"id"} | order.names
    for part, user in zip([*first, *second], whole, strict=True):
        assert {name for name in NAMES if hasattr(part, name)} == had
        assert [getattr(part, name) for name in sorted(had)] == [getattr(user, name) for name in sorted(had)]


@pytest.mark.parametrize("hidden", Hidden)
async def test_a_filtered_page_has_only_the_requested_fields(
    units: UnitsOfWork, users: UserService, hidden: Hidden
) -> None:
    for name in ("Alice", "Bob"):
        await users.create(NewUser(name=name))
    await users.delete(2)
    wanted = parse_filter("version ge 1", FIELDS)
    async with units.reading() as work:
        whole = await work.users.page(filter=wanted, hidden=hidden, limit=9)
        parts = await work.users.page(filter=wanted, hidden=hidden, limit=9, only=["name"])
        nobody = await work.users.page(filter=wanted, hidden=hidden, skip=9, limit=9, only=["name"])
    assert [(part.id, part.name) for part in parts] == [(user.id, user.name) for user in whole]
    assert not [part for part in parts if hasattr(part, "version")]
    assert (list(nobody), nobody.seq) == ([], whole.seq)


@pytest.mark.parametrize("sort", ["id", "name"])
async def test_a_page_selects_only_the_columns_that_it_needs(sqlite: SqliteDatabase, sort: str) -> None:
    executor = Counting(sqlite)
    store = SqlReadStore(USERS, Reading(executor, executor, database=sqlite))  # type: ignore[arg-type]

    await store.page(sort=parse_sort(sort, FIELDS), limit=9, only=["email"])

    assert {column.name for column in executor.columns} - {"last_change"} == {"id", "email"} | {sort}

"""Pages of lists: each says which state it shows and whether more follows, and has the requested fields."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import pytest
from pydantic_core import to_json

from domain.errors import Malformed
from domain.groups import NewGroup
from domain.lists.pages import DEFAULT_LIMIT, Position, parse_sort
from domain.lists.projections import Projection
from domain.lists.terms import parse_filter
from domain.memberships import Membership, NewMembership
from domain.stores import Hidden
from domain.users import FIELDS, NewUser, User
from domain.values import MAX_ID, MAX_INTEGER, JsonObject
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.postgres import executors as postgres_executors
from repositories.engines.sqlite import executors as sqlite_executors
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.statements import Parameters, Rows, prepare
from repositories.tables import documents
from repositories.tables.reading import SqlReadStore
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


HOSTILE: Final[Sequence[dict[str, Any]]] = [
    {"name": "Alice"},
    {"name": 'Bob "%s" \\ \u2028 \U0001f980 \'', "email": "b%d@example.org", "status": "suspended"},
    {"name": "Carol", "username": "null", "external_id": "x", "attributes": {"lines": "a\nb\r\t", "null": None}},
    {"name": "dave", "attributes": {"a": [1, 2.5, True, {"b": "ü\x7f"}], "big": MAX_INTEGER, "small": 1e-7}},
    {"name": "Eve", "email": "eve@example.org", "attributes": {"": "{}"}},
]


@pytest.fixture
async def people(units: UnitsOfWork, users: UserService) -> None:
    """Users whose values try to break out of JSON, lines and patterns. Two of them are deleted."""
    for each in HOSTILE:
        await users.create(NewUser(**each))
    await users.patch(1, {"name": "Alicia"})
    await users.delete(4)
    await users.delete(5)


SPARSE: Final = Projection(User, ("id", "name", "email", "username", "external_id", "status", "attributes",
                                  "deleted_at"), sparse=True)  # fmt: skip
EVERYTHING: Final = Projection(User, tuple(each.name for each in fields(User)))
SOME: Final = Projection(User, ("email", "attributes", "updated_at"))
OMISSIBLE: Final = Projection(User, ("email", "status", "id"), sparse=True)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("projection", [SPARSE, EVERYTHING, SOME, OMISSIBLE], ids=["sparse", "all", "some", "first"])
@pytest.mark.parametrize("hidden", Hidden)
@pytest.mark.parametrize("sort", ["id", "-id", "name", "-created_at", "status,-name", "-email"])
async def test_a_page_as_json_has_what_the_page_has(
    units: UnitsOfWork, projection: Projection[User], hidden: Hidden, sort: str
) -> None:
    order = parse_sort(sort, FIELDS)
    found: list[Any] = []
    after = None
    async with units.reading() as work:
        whole = await work.users.page(sort=order, hidden=hidden, limit=9)
        while True:
            page = await work.users.page_as_json(projection, sort=order, hidden=hidden, after=after, limit=2)
            found += page.items
            assert page.seq == whole.seq
            if page.end is None:
                break
            assert order.keys_at(page.end) == order.keys_of(whole.items[len(found) - 1])
            after = page.end
    assert [json.loads(item) for item in found] == [as_client(projection(user)) for user in whole]
    assert [list(json.loads(item)) for item in found] == [list(projection(user)) for user in whole]
    assert not [item for item in found if "\n" in item]


def as_client(body: Mapping[str, Any]) -> Any:
    return json.loads(to_json(body))


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("hidden", Hidden)
@pytest.mark.parametrize("sort", ["id", "name", "-email,name"])
@pytest.mark.parametrize("text", ["version ge 1", 'name co "a"', 'attributes.big gt 0 or email ew "org"', "id lt 0"])
async def test_a_filtered_page_as_json_has_what_the_page_has(
    units: UnitsOfWork, hidden: Hidden, sort: str, text: str
) -> None:
    asked: Any = {"filter": parse_filter(text, FIELDS), "sort": parse_sort(sort, FIELDS), "hidden": hidden}
    async with units.reading() as work:
        whole = await work.users.page(**asked, limit=9)
        page = await work.users.page_as_json(SPARSE, **asked, limit=9)
    assert [json.loads(item) for item in page.items] == [as_client(SPARSE(user)) for user in whole]
    assert (page.end, page.seq) == (None, whole.seq)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("limit", "items", "end"), [(0, 0, None), (1, 1, (1,)), (2, 2, (2,)), (3, 3, None), (MAX_ID, 3, None)]
)
async def test_a_page_as_json_has_at_most_that_many_items_and_says_where_it_ends(
    units: UnitsOfWork, limit: int, items: int, end: Position | None
) -> None:
    async with units.reading() as work:
        page = await work.users.page_as_json(SPARSE, limit=limit)
        with pytest.raises(Malformed):
            await work.users.page_as_json(SPARSE, after=("a",), limit=limit)
    assert (len(page.items), page.end) == (items, end)


@pytest.mark.parametrize("limit", [DEFAULT_LIMIT - 1, DEFAULT_LIMIT, DEFAULT_LIMIT + 1])
async def test_pages_as_json_have_every_item_once_with_limits_near_the_default(
    units: UnitsOfWork, context: RequestContext, limit: int
) -> None:
    """On PostgreSQL and SQLite the default limit has a statement of its own."""
    async with units.writing(context) as work:
        await work.users.add_many([NewUser(name="User") for _ in range(DEFAULT_LIMIT + 2)])
        await work.commit(None)
    async with units.reading() as work:
        first = await work.users.page_as_json(SPARSE, limit=limit)
        second = await work.users.page_as_json(SPARSE, after=first.end, limit=limit)
    assert (len(first.items), first.end, second.end) == (limit, (limit,), None)
    assert [json.loads(item)["id"] for item in [*first.items, *second.items]] == [*range(1, DEFAULT_LIMIT + 3)]


async def test_all_stores_write_the_same_json(units: UnitsOfWork, users: UserService) -> None:
    attributes: JsonObject = {"näme": "ü", "list": [1, 2.5, None, {}], "quote": '"'}
    await users.create(NewUser(name='"ü"', attributes=attributes))
    async with units.reading() as work:
        page = await work.users.page_as_json(SPARSE, limit=1)
    text = '{"id":1,"name":"\\"ü\\"","attributes":{"näme":"ü","list":[1,2.5,null,{}],"quote":"\\""}}'
    assert page.items == [text]


async def test_a_page_as_json_in_a_writing_unit_shows_its_writes(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    await users.create(NewUser(name="Alice"))
    before = await last(units)
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Bob"))
        page = await work.users.page_as_json(SPARSE, limit=9)
    assert (page.items, page.seq) == (['{"id":1,"name":"Alice"}', '{"id":2,"name":"Bob"}'], before)


async def test_the_json_of_a_membership_has_its_group_as_the_way(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    """`via` is not a column."""
    async with units.writing(context) as work:
        user, group = await work.users.add(NewUser(name="Alice")), await work.groups.add(NewGroup(name="Builders"))
        await work.memberships.add(NewMembership(group_id=group.id, user_id=user.id, role='"'))
        await work.commit(None)
    async with units.reading() as work:
        page = await work.memberships.page_as_json(Projection(Membership, ("user_id", "via", "role")), limit=9)
    assert [json.loads(item) for item in page.items] == [{"user_id": user.id, "via": [group.id], "role": '"'}]


@pytest.mark.parametrize("text", [None, 'email eq "a"', 'name co "a"'])
async def test_a_page_as_json_takes_one_statement_even_if_it_is_empty(sqlite: SqliteDatabase, text: str | None) -> None:
    executor = Counting(sqlite)
    store = SqlReadStore(USERS, Reading(executor, executor, database=sqlite))  # type: ignore[arg-type]

    page = await store.page_as_json(SPARSE, filter=None if text is None else parse_filter(text, FIELDS), limit=9)

    assert (page.items, page.seq, executor.asked) == ([], 0, 1)


@pytest.mark.parametrize("limit", [DEFAULT_LIMIT + 1, DEFAULT_LIMIT + 2])
def test_no_value_of_a_page_as_json_is_decoded(limit: int) -> None:
    for dialect in (sqlite_executors.DIALECT, postgres_executors.DIALECT):
        prepared = prepare(documents.by_id(USERS, EVERYTHING, limit), dialect, None)
        assert (prepared.readers, prepared.documents, prepared.is_gathered) == ([], [], False)


class Counting:
    """An executor that counts what it is asked."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.asked = 0

    async def fetch(self, statement: Any, parameters: Parameters | None = None) -> Rows:
        self.asked += 1
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

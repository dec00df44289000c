"""Filters and sorts mean the same in memory, on SQLite and on PostgreSQL: for any users, any filter, any sort."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.generated import examples

from domain.entities import Entity
from domain.errors import Malformed
from domain.groups import FIELDS as GROUP_FIELDS
from domain.groups import Group
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, Position, Sort, parse_sort
from domain.lists.terms import parse_filter
from domain.memberships import Membership
from domain.stores import ReadStore
from domain.users import ATTRIBUTES, FIELDS, NAME, NewUser, Status, User
from domain.values import JsonValue, fold
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.database import Database
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.groups import GROUPS
from repositories.memberships import MEMBERSHIPS
from repositories.memory.units import MemoryReading, Tables
from repositories.stores import MemoryReadStores, SqlReadStores
from repositories.units import Reading
from repositories.users import USERS

E = TypeVar("E", bound=Entity)

# What makes stores differ: letters that fold to others or to several, combining ones, wildcards, quotes, code points
# whose order in UTF-16 is another.
LETTERS = "aAbB1 -_%\\'\"$.[]{}ßſİıéﬁ\u0301\u0345😀\uffff\U00010000"
WORDS = ["a", "A", "b", "ab", "aab", "ba", "ß", "SS", "%", "a%b", "_", "\\", "\\a", "e\u0301", "\u0301", "é", "ﬁ", "fi"]
WORDS += ["İ", "😀", "a😀", '"', "true", "1", "1.0", ""]
NUMBERS = [0, 0.0, -0.0, 1, 1.0, -1, 1.5, 0.1, 1e308, -1e308, 5e-324, 1e22, 2**53 - 1, 2.0**53, -(2**53) + 1]
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
KEYS = ["a", "b", "c-1", "0", "A"]

words = st.sampled_from(WORDS) | st.sampled_from(WORDS) | st.text(LETTERS, max_size=4)
names = words.filter(lambda word: not list(NAME.faults("", word)))
numbers = (
    st.sampled_from(NUMBERS) | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
instants = st.sampled_from([NOON, NOON + timedelta(microseconds=1), NOON - timedelta(hours=2)]) | st.timedeltas(
    timedelta(days=-739_000), timedelta(days=2_900_000)
).map(lambda distance: NOON + distance)
items = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from([None, True, False, 0, 1, 1.5, "", "a", "A", "b", [1, "a"], {"b": "a"}]) | words,
    max_size=3,
)  # elements that value paths find
members = st.lists(items, max_size=3) | st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 1.5, "", "a", "A", "1"]) | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | words, inner, max_size=3),
    max_leaves=5,
)
attributes = st.fixed_dictionaries({"a": members}, optional=dict.fromkeys(KEYS[1:], members)).filter(
    lambda value: not list(ATTRIBUTES.faults("", value))
)


@st.composite
def directories(draw: st.DrawFn) -> Sequence[User]:
    """Some users, of whom no two that are not deleted have the same key."""
    drawn = draw(st.lists(users(), min_size=3, max_size=8))
    taken: dict[str, set[str]] = {"email": set(), "username": set(), "external_id": set()}
    return [replace(user, id=id, **free_keys(user, taken)) for id, user in enumerate(drawn, start=1)]


def free_keys(user: User, taken: Mapping[str, set[str]]) -> Mapping[str, Any]:
    keys = {name: getattr(user, name) for name in taken}
    for name, value in keys.items():
        form = fold(value or "") if name != "external_id" else value
        if form in taken[name]:
            keys[name] = None
        elif value is not None:
            taken[name].add(form)
    return keys


def users() -> st.SearchStrategy[User]:
    return st.builds(
        User,
        id=st.just(1),
        name=names,
        created_at=instants,
        updated_at=instants,
        version=st.integers(1, 3),
        email=st.none() | names,
        username=st.none() | names,
        external_id=st.none() | names,
        status=st.sampled_from(Status),
        attributes=attributes,
        deleted_at=st.sampled_from([None, None, None, NOON]),
    )


@dataclass(frozen=True)
class Crowd:
    """Users, groups and memberships, which are hidden with their users."""

    users: Sequence[User]
    groups: Sequence[Group] = ()
    memberships: Sequence[Membership] = ()


@st.composite
def crowds(draw: st.DrawFn) -> Crowd:
    users = draw(directories())
    drawn = draw(st.lists(groups(), max_size=4))
    all = [named(group, id) for id, group in enumerate(drawn, start=1)]
    pairs = [(group, user) for group in all for user in users]
    members = draw(st.lists(st.sampled_from(pairs), max_size=8, unique_by=id)) if pairs else []
    return Crowd(users, all, [membership(id, *pair) for id, pair in enumerate(members, start=1)])


def named(group: Group, id: int) -> Group:
    """With keys that no other group has."""
    return replace(group, id=id, name=f"{group.name}{id}", external_id=group.external_id and f"{group.external_id}{id}")


def membership(id: int, group: Group, user: User) -> Membership:
    since = user.deleted_at
    return Membership(
        id=id, group_id=group.id, user_id=user.id, created_at=NOON, updated_at=NOON, deleted_at=since, version=1
    )


def groups() -> st.SearchStrategy[Group]:
    return st.builds(
        Group,
        id=st.just(1),
        name=names,
        created_at=instants,
        updated_at=instants,
        version=st.integers(1, 3),
        external_id=st.none() | names,
        description=st.none() | names,
        attributes=attributes,
        deleted_at=st.sampled_from([None, None, None, NOON]),
    )


def quoted(value: object) -> st.SearchStrategy[str]:
    return st.booleans().map(lambda escapes: json.dumps(value, ensure_ascii=escapes))


def term(fields: Sequence[str], operators: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(fields), st.sampled_from(operators.split()), literals).map(" ".join)


PATHS = ["attributes.a", "attributes.b", "attributes.a.b", "attributes.c-1", "attributes.0", "attributes.a.0"]
TEXT, ORDERED = "eq ne co sw ew gt ge lt le", "eq ne gt ge lt le"
offsets = st.sampled_from([UTC, *(datetime.strptime(o, "%z").tzinfo for o in ("+0530", "-0930"))])

terms = st.one_of(
    term(["name", "email", "username", "external_id", "status", *PATHS], TEXT, words.flatmap(quoted)),
    term(["status"], TEXT, st.sampled_from(['"active"', '"act"', '"Active"', '"suspended"'])),
    term(["id", "version"], ORDERED, st.integers(-1, 9).map(str) | st.just(str(2**53 - 1))),
    term(["created_at", "updated_at"], ORDERED, st.builds(datetime.astimezone, instants, offsets).map(str).flatmap(
        lambda time: quoted(time.replace(" ", "T"))
    )),
    term(["groups"], ORDERED, st.integers(-1, 5).map(str)),
    term(PATHS, ORDERED, numbers.flatmap(quoted)),
    term(PATHS, "eq ne", st.sampled_from(["true", "false"])),
    term([*FIELDS.keys() - {"attributes"}, *PATHS], "eq ne", st.just("null")),
    term([*FIELDS.keys() - {"attributes"}, *PATHS], "pr", st.just("")),
    term(PATHS, "pr", st.just("")),
)  # fmt: skip
within = st.one_of(
    term(["a", "b", "c-1", "a.b"], TEXT, words.flatmap(quoted)),
    term(["a", "b"], ORDERED, numbers.flatmap(quoted)),
    term(["a", "b"], "eq ne", st.sampled_from(["true", "false", "null"])),
    term(["a", "b", "A"], "pr", st.just("")),
)
parts = st.recursive(
    within,
    lambda inner: (
        st.builds("({} and {})".format, inner, inner)
        | st.builds("({} or {})".format, inner, inner)
        | st.builds("not ({})".format, inner)
        | st.builds("{}[{}]".format, st.sampled_from(["a", "b", "a.b"]), inner)
    ),
    max_leaves=3,
)
value_paths = st.builds("{}[{}]{}".format, st.sampled_from(PATHS), parts, st.just("") | within.map(".{}".format))
group_terms = st.one_of(
    term(["name", "external_id", "description", "attributes.a"], TEXT, words.flatmap(quoted)),
    term(["members", "members", "id", "version"], ORDERED, st.integers(-1, 9).map(str)),
    term([*GROUP_FIELDS.keys() - {"attributes"}], "eq ne", st.just("null")),
    term([*GROUP_FIELDS.keys() - {"attributes"}], "pr", st.just("")),
)


def joined(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        terms,
        lambda inner: (
            st.builds("({} and {})".format, inner, inner)
            | st.builds("({} or {})".format, inner, inner)
            | st.builds("not ({})".format, inner)
        ),
        max_leaves=3,
    )


filters = joined(terms | value_paths)
group_filters = joined(group_terms)


@st.composite
def sorts(draw: st.DrawFn) -> str:
    sortable = sorted(name for name, field in FIELDS.items() if field.sorts)
    named = draw(st.lists(st.sampled_from(sortable), min_size=1, max_size=3, unique=True))
    return ",".join(draw(st.sampled_from(["", "-"])) + name for name in named)


@dataclass(frozen=True)
class Stores(Generic[E]):
    memory: ReadStore[E]
    sqlite: ReadStore[E]
    postgres: ReadStore[E]

    def all(self) -> Mapping[str, ReadStore[E]]:
        return {"memory": self.memory, "sqlite": self.sqlite, "postgres": self.postgres}


async def stores_of(users: Sequence[User], sqlite: Database, postgres: Database) -> Stores[User]:
    """Three stores that hold the same."""
    memory, *databases = await units_with(Crowd(users), sqlite, postgres)
    return Stores(memory.users, *[each.users for each in databases])


async def units_with(
    crowd: Crowd, sqlite: Database, postgres: Database
) -> tuple[MemoryReadStores, SqlReadStores, SqlReadStores]:
    """The stores of three directories that hold the same."""
    tables = Tables.of([User, Group, Membership])
    for each in (*crowd.users, *crowd.groups, *crowd.memberships):
        tables.rows[each.kind].by_id[each.id] = each
    memory = MemoryReadStores(MemoryReading(tables))
    return memory, await stores_in(sqlite, crowd), await stores_in(postgres, crowd)


async def stores_in(database: Database, crowd: Crowd) -> SqlReadStores:
    tables: Sequence[tuple[Any, Sequence[Any]]] = [
        (USERS, crowd.users), (GROUPS, crowd.groups), (MEMBERSHIPS, crowd.memberships)
    ]  # fmt: skip
    async with database.transaction() as executor:
        for table, _ in reversed(tables):
            await executor.fetch(sa.delete(table.table))
        for table, entities in tables:
            for each in entities:
                await executor.fetch(sa.insert(table.table), {"id": each.id, **table.values_of(each)})
        await executor.commit()
    return SqlReadStores(Reading(database.reader, database.scans, database=database))


async def ids(store: ReadStore[Any], filter: Filter | None = None, sort: Sort = BY_ID) -> Sequence[int]:
    return [user.id for user in await store.list(filter=filter, sort=sort, limit=100)]


async def walked(store: ReadStore[Any], filter: Filter | None, sort: Sort, limit: int) -> Sequence[int]:
    """The ids of all pages. The position goes through JSON, as in a cursor."""
    users = await store.list(filter=filter, sort=sort, limit=limit)
    found = [user.id for user in users]
    while users:
        after = json.loads(json.dumps(sort.position(users[-1])))
        users = await store.list(filter=filter, sort=sort, after=tuple(after), limit=limit)
        found += [user.id for user in users]
        assert len(found) <= 100, "the pages come to no end"
    return found


@examples(12)
@given(crowd=crowds(), texts=st.lists(filters, min_size=10, max_size=20))
async def test_a_filter_finds_the_same_users_in_every_store(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, crowd: Crowd, texts: Sequence[str]
) -> None:
    memory, *databases = await units_with(crowd, sqlite, postgres)
    stores = Stores(memory.users, *[each.users for each in databases])
    for text in texts:
        await require_the_same(stores, parse_filter(text, FIELDS), text)


@examples(6)
@given(crowd=crowds(), texts=st.lists(group_filters, min_size=5, max_size=10))
async def test_a_filter_finds_the_same_groups_in_every_store(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, crowd: Crowd, texts: Sequence[str]
) -> None:
    memory, *databases = await units_with(crowd, sqlite, postgres)
    stores = Stores(memory.groups, *[each.groups for each in databases])
    for text in texts:
        await require_the_same(stores, parse_filter(text, GROUP_FIELDS), text)


async def require_the_same(stores: Stores[Any], filter: Filter, text: str) -> None:
    expected = await ids(stores.memory, filter)
    found = {name: await ids(store, filter) for name, store in stores.all().items()}
    assert found == dict.fromkeys(stores.all(), expected), text
    assert {await store.count(filter) for store in stores.all().values()} == {len(expected)}, text
    assert {await store.count(filter, most=2) for store in stores.all().values()} == {min(2, len(expected))}, text


MEANS: Mapping[str, tuple[Sequence[JsonValue], Sequence[JsonValue]]] = {
    "attributes.a pr": (["x", 0, False, [None], {"b": None}, " ", "[]", "null"], [None, "", [], {}]),
    "attributes.a eq null": ([None, "", [], {}], ["x", 0, False, [None]]),
    'attributes.a eq "a"': (["a", ["b", "a"]], ["A", " a", "aa", [["a"]], {"a": "a"}, None]),
    'attributes.a ne "a"': (["A", None, [], 1, {"a": "a"}], ["a", ["b", "a"]]),
    'attributes.a eq ""': (["", [""]], [None, [], {}, 0, False]),
    'attributes.a co ""': (["", "x", ["x"]], [None, 5, [], {}]),
    'attributes.a co "%"': (["%", "a%b"], ["a", "\\"]),
    'attributes.a co "_\\\\"': (["a_\\b"], ["ab\\", "_"]),
    'attributes.a sw "ab"': (["ab", "abc", ["x", "abc"]], ["a", "AB", "xab", 5]),
    'attributes.a ew "ab"': (["ab", "xab", "abab"], ["b", "aB", "abx", ""]),
    'attributes.a ew "😀"': (["😀", "a😀"], ["😀a", "😁"]),
    'attributes.a gt "\uffff"': (["\U00010000", "\uffff\uffff"], ["\uffff", "z", "", 10**9]),
    'attributes.a gt "B"': (["a", "Ba"], ["A", "B", 1]),
    "attributes.a eq 1": ([1, 1.0, [2, 1]], [True, "1", 2, 1.0000000000000002]),
    "attributes.a eq -0.0": ([0, 0.0, -0.0], [False, "", None, 5e-324]),
    "attributes.a lt 1e308": ([1, -1e308, 5e-324], [1e308, 1.7976931348623157e308, "1", True]),
    "attributes.a ge 9007199254740991": ([2**53 - 1, 2.0**53], [2**53 - 2, "9007199254740991"]),
    "attributes.a eq 0.1": ([0.1], [0.1 + 1e-17 * 2, 0.2]),
    "attributes.a eq true": ([True, [0, True]], [1, "true", False]),
    "attributes.a ne false": ([True, 0, None, "false"], [False, [1, False]]),
    "attributes.a.0 pr": ([{"0": 1}], [[1], "1"]),
    'attributes.a.b eq "x"': ([{"b": "x"}, {"b": ["x"]}], [[{"b": "x"}], {"b.c": "x"}, {"b": {"b": "x"}}]),
    'attributes.a.b ne "x"': ([[{"b": "x"}], "x", None], [{"b": "x"}]),
    'attributes.a[b eq "x" and c eq 1]': (
        [[{"b": "x", "c": 1}], {"b": "x", "c": 1}, [5, {"b": ["y", "x"], "c": 1.0}]],
        [[{"b": "x"}, {"c": 1}], [], {}, "x", None, [[{"b": "x", "c": 1}]]],
    ),
    'attributes.a[b eq "x"].c eq 1': ([[{"b": "x", "c": 1}]], [[{"b": "x"}, {"c": 1}], [{"b": "x", "c": 2}]]),
    'attributes.a[not (b eq "x")]': ([[{}], [{"b": "x"}, {"c": 1}], {}], [[{"b": "x"}], [], None, "y", [1]]),
    'not (attributes.a[b eq "x"])': ([[{}], [], None, "x", [{"c": "x"}]], [[{"b": "x"}], [{}, {"b": "x"}]]),
    "attributes.a[b pr]": ([[{"b": 0}], {"b": "x"}], [[{"b": None}], [{"b": ""}], [{}], "b"]),
    "attributes.a[b[c eq 1] and d pr]": (
        [[{"b": [{"c": 1}], "d": 1}], {"b": {"c": 1}, "d": 1}],
        [[{"b": [{"c": 1}]}, {"d": 1}], [{"b": [{"c": 2}], "d": 1}]],
    ),
}


@pytest.mark.parametrize("text", MEANS)
async def test_a_filter_means_what_is_documented_in_every_store(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, text: str
) -> None:
    match, others = MEANS[text]
    users = [
        User(id=id, name="x", created_at=NOON, updated_at=NOON, version=1, attributes={"a": value})
        for id, value in enumerate((*match, *others), 1)
    ]
    stores = await stores_of(users, sqlite, postgres)
    for name, store in stores.all().items():
        assert await ids(store, parse_filter(text, FIELDS)) == list(range(1, len(match) + 1)), name


@examples(12)
@given(users=directories(), texts=st.lists(sorts(), min_size=2, max_size=4), limit=st.integers(1, 3))
async def test_the_pages_of_any_sort_add_up_to_the_whole_list_in_every_store(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, users: Sequence[User], texts: Sequence[str], limit: int
) -> None:
    stores = await stores_of(users, sqlite, postgres)
    for text in texts:
        sort = parse_sort(text, FIELDS)
        expected = await ids(stores.memory, sort=sort)
        for name, store in stores.all().items():
            assert await ids(store, sort=sort) == expected, (name, text)
            assert await walked(store, None, sort, limit) == expected, (name, text)


CONTEXT = RequestContext(actor="tester", request_id="r1")


@pytest.mark.parametrize("text", ["id", "name", "-name", "email", "-email", "status,-name", "-created_at"])
async def test_writes_between_pages_make_no_page_skip_or_repeat_other_users(units: UnitsOfWork, text: str) -> None:
    sort = parse_sort(text, FIELDS)
    for number in range(6):
        await add(units, f"m{number}", f"m{number}")
        await add(units, f"n{number}", None)
    seen: list[str] = []
    page = await page_after(units, sort, None)
    while page:
        seen += [user.name for user in page]
        await remove(units, page[-1].id)  # where the next page begins
        await add(units, f"a{len(seen)}", None if len(seen) % 2 else f"a{len(seen)}")
        page = await page_after(units, sort, sort.position(page[-1])) if len(seen) < 40 else []
    assert len(seen) == len(set(seen))
    assert {name for name in seen if name[0] in "mn"} == {f"{letter}{number}" for letter in "mn" for number in range(6)}


async def page_after(units: UnitsOfWork, sort: Sort, after: Position | None) -> Sequence[User]:
    async with units.reading() as work:
        return await work.users.list(sort=sort, after=after, limit=3)


async def add(units: UnitsOfWork, name: str, email: str | None) -> None:
    async with units.writing(CONTEXT) as work:
        await work.users.add(NewUser(name=name, email=email))
        await work.commit(None)


async def remove(units: UnitsOfWork, id: int) -> None:
    async with units.writing(CONTEXT) as work:
        await work.users.save((await work.users.get(id)).deleted(work.now))
        await work.commit(None)


async def test_filters_and_sorts_include_uncommitted_writes_of_the_same_unit(units: UnitsOfWork) -> None:
    async with units.writing(CONTEXT) as work:
        for name in ("b", "C", "a"):
            await work.users.add(NewUser(name=name, attributes={"n": [1, 2.5]}))
        filter = parse_filter('attributes.n gt 2 and not (name eq "B")', FIELDS)
        found = await work.users.list(filter=filter, sort=parse_sort("-name", FIELDS), limit=9)
        assert [user.name for user in found] == ["C", "a"]
        assert await work.users.count(filter) == 2
        assert [await work.users.count(most=most) for most in (0, 2, 3, 4)] == [0, 2, 3, 3]


async def test_a_position_of_another_sort_is_malformed(units: UnitsOfWork) -> None:
    async with units.reading() as work:
        for sort, after in (("id", ("a",)), ("name", (5,)), ("created_at", ("noon", 5)), ("-email", (None, None))):
            with pytest.raises(Malformed):
                await work.users.list(sort=parse_sort(sort, FIELDS), after=after, limit=1)

"""What SCIM keeps of a user: stored without loss, compared by its folded form, and in step with the user's fields."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.test_filters import (
    NOON,
    Stores,
    directories,
    filters,
    ids,
    parts,
    quoted,
    stores_of,
    term,
    walked,
    words,
)
from tests.generated import examples

from domain.errors import NotFound
from domain.lists.fields import Field, Kind
from domain.lists.filters import Nothing, Or, Present
from domain.lists.pages import Order, parse_sort, sort_by
from domain.lists.terms import parse_filter
from domain.users import ALL_FIELDS, FIELDS, NewUser, User
from domain.values import JsonObject, fold
from domain.work import RequestContext, UnitsOfWork
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from services.users import UserService

EMAILS: list[dict[str, Any]] = [
    {"value": "A@x.org", "type": "Work", "primary": True},
    {"value": "b@x.org", "type": "home"},
]
RECORD: JsonObject = {
    "displayName": "Bárbara",
    "name": {"familyName": "Straße", "givenName": "İpek"},
    "emails": EMAILS,
    "photos": [{"value": "https://x.org/A.png", "type": "Photo"}],
    "profileUrl": "https://x.org/A",
    "n": [1, 2.5, None, {"a": []}],
}


def record(user: User) -> Any:
    assert user.scim is not None
    return user.scim


async def test_a_scim_record_is_stored_without_loss(units: UnitsOfWork, users: UserService) -> None:
    created = (await users.create(NewUser(name="Bárbara", scim=RECORD))).result
    assert created.scim == RECORD
    assert (await users.get(created.id)).scim == RECORD
    async with units.reading() as work:
        (change,) = await work.changes.list(limit=10)
    assert change.after is not None
    assert change.after["scim"] == RECORD


async def test_a_user_that_scim_did_not_create_has_no_scim_record_and_none_in_its_changes(
    units: UnitsOfWork, users: UserService
) -> None:
    created = (await users.create(NewUser(name="Alice"))).result
    assert created.scim is None
    async with units.reading() as work:
        (change,) = await work.changes.list(limit=10)
    assert change.after is not None
    assert "scim" not in change.after


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"name": "Bab"}, {"displayName": "Bab"}),
        ({"status": "suspended"}, {}),
        ({"attributes": {"a": 1}}, {}),
        ({"email": "c@x.org"}, {"emails": [{**EMAILS[0], "value": "c@x.org"}, EMAILS[1]]}),
        ({"email": None}, {"emails": EMAILS[1:]}),
    ],
)
async def test_the_scim_record_follows_changes_of_other_fields(
    users: UserService, patch: JsonObject, changed: JsonObject
) -> None:
    user = (await users.create(NewUser(name="Bárbara", email="A@x.org", scim=RECORD))).result
    patched = (await users.patch(user.id, patch)).result
    assert patched.scim == {**RECORD, **changed}


async def test_a_cleared_email_stays_cleared_when_other_fields_change(users: UserService) -> None:
    user = (await users.create(NewUser(name="Bárbara", email="A@x.org", scim=RECORD))).result
    await users.patch(user.id, {"email": None})
    patched = (await users.patch(user.id, {"name": "B"})).result
    assert patched.email is None
    assert record(patched)["emails"] == [{"value": "b@x.org", "type": "home"}]


async def test_the_scim_record_gets_an_email_that_is_set_and_loses_one_that_is_cleared(users: UserService) -> None:
    user = (await users.create(NewUser(name="B", scim={"title": "t"}))).result
    given_one = (await users.patch(user.id, {"email": "c@x.org"})).result
    assert given_one.scim == {"title": "t", "emails": [{"value": "c@x.org", "primary": True}]}
    assert (await users.patch(user.id, {"email": None})).result.scim == {"title": "t"}


async def test_a_put_of_the_whole_profile_keeps_the_scim_record(users: UserService) -> None:
    user = (await users.create(NewUser(name="Bárbara", email="A@x.org", external_id="x", scim=RECORD))).result
    put, _ = (await users.put(NewUser(name="Other", external_id="x"))).result
    assert put.id == user.id
    assert put.scim == {**RECORD, "displayName": "Other", "emails": record(user)["emails"][1:]}


MEANS = {
    'scim.name.familyName eq "STRASSE"': True,
    'scim.displayName sw "BÁR"': True,
    'scim.emails[type eq "work" and value eq "a@x.org"]': True,
    'scim.emails[type eq "home" and value eq "a@x.org"]': False,
    'scim.photos[type eq "photo" and value eq "https://x.org/A.png"]': True,
    'scim.photos[value eq "https://x.org/a.png"]': False,
    "scim.emails[primary eq true]": True,
    "scim.n eq 2.5": True,
}


@pytest.mark.parametrize("text", MEANS)
async def test_strings_in_a_scim_record_ignore_case_except_references(users: UserService, text: str) -> None:
    await users.create(NewUser(name="Bárbara", scim=RECORD))
    await users.create(NewUser(name="Bob"))
    found = await users.list(filter=parse_filter(text, ALL_FIELDS), limit=9)
    assert [user.name for user in found.items] == ["Bárbara"] * MEANS[text]


async def test_the_filter_nothing_finds_nobody(users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    assert (await users.list(filter=Nothing(), limit=9)).items == []
    assert await users.count(Or((Nothing(), Present(FIELDS["name"])))) == 1


WITHIN = [path.replace("attributes", "scim") for path in ("attributes.a", "attributes.b", "attributes.a.b")]


@st.composite
def users_with_records(draw: st.DrawFn) -> Sequence[User]:
    """Users whose SCIM records are like the attributes of other users."""
    return [replace(user, scim=draw(st.sampled_from([None, user.attributes]))) for user in draw(directories())]


scim_filters = st.one_of(
    term(WITHIN, "eq ne co sw ew gt lt", words.flatmap(quoted)),
    st.builds("{}[{}]".format, st.sampled_from(WITHIN), parts),
    filters,
)


@examples(8)
@given(users=users_with_records(), texts=st.lists(scim_filters, min_size=10, max_size=20))
async def test_a_filter_on_records_finds_the_same_users_in_every_store(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, users: Sequence[User], texts: Sequence[str]
) -> None:
    stores = await stores_of(users, sqlite, postgres)
    for text in texts:
        filter = parse_filter(text, ALL_FIELDS)
        expected = await ids(stores.memory, filter)
        assert {name: await ids(store, filter) for name, store in stores.all().items()} == dict.fromkeys(
            stores.all(), expected
        ), text


BY_FAMILY = Field("scim", Kind.FOLDED, optional=True, path=("name", "familyName"))


def with_family(id: int, family: Any) -> User:
    scim = None if family == "none" else {"name": {"familyName": family}}
    return User(id=id, name="x", created_at=NOON, updated_at=NOON, version=1, scim=scim)


async def sorted_stores(sqlite: SqliteDatabase, postgres: PostgresDatabase) -> tuple[Stores[User], list[str | None]]:
    families = ["b", "B", "a", "ß", "SS", None, "none", 5, "ä", "😀", "\uffff", "c", {"x": "y"}]
    random.Random(1).shuffle(families)
    stores = await stores_of([with_family(id, each) for id, each in enumerate(families, 1)], sqlite, postgres)
    return stores, [fold(each) if isinstance(each, str) and each != "none" else None for each in families]


@pytest.mark.parametrize("descending", [False, True])
async def test_lists_sort_by_a_string_in_the_record(
    sqlite: SqliteDatabase, postgres: PostgresDatabase, descending: bool
) -> None:
    stores, families = await sorted_stores(sqlite, postgres)
    sort = sort_by([Order(BY_FAMILY, descending=descending)])
    expected = await ids(stores.memory, sort=sort)
    assert [families[id - 1] for id in expected if families[id - 1]] == sorted(
        (each for each in families if each), reverse=descending
    )
    for name, store in stores.all().items():
        assert await ids(store, sort=sort) == expected, name
        assert await walked(store, None, sort, 3) == expected, name


@pytest.mark.parametrize("text", ["id", "name,-created_at", "-email", "email", "external_id", "-id"])
async def test_a_list_can_skip_the_first_users(users: UserService, text: str) -> None:
    for number in range(9):
        email = None if number % 3 == 0 else f"e{number}@x"
        await users.create(NewUser(name=f"n{number % 4}", email=email, external_id=f"x{number}"))
    sort = parse_sort(text, FIELDS)
    whole = (await users.list(sort=sort, limit=20)).items
    for skip in (0, 1, 4, 8, 9, 10**18):
        page = await users.list(sort=sort, skip=skip, limit=3)
        assert page.items == whole[skip : skip + 3]
        assert page.more is (len(whole) > skip + 3)
    after = await users.list(sort=sort, after=sort.position(whole[1]), skip=2, limit=2)
    assert after.items == whole[4:6]
    some = await users.list(filter=parse_filter('name ne "n1"', FIELDS), sort=sort, skip=2, limit=2)
    assert some.items == [user for user in whole if user.name != "n1"][2:4]


CONTEXT = RequestContext(actor="tester", request_id="r1")


async def test_find_hidden_returns_the_last_deleted_user_with_an_external_id(
    units: UnitsOfWork, users: UserService
) -> None:
    for name in ("first", "second", "third"):
        user = (await users.create(NewUser(name=name, external_id="x"))).result
        if name != "third":
            await users.delete(user.id)
    await users.create(NewUser(name="other", external_id="X"))
    async with units.writing(CONTEXT) as work:
        assert (await work.users.find_hidden("external_id", "x")).name == "second"
    async with units.reading() as work:
        assert (await work.users.find_hidden("external_id", "x")).name == "second"
    for value in ("X", "y", "\x00"):
        async with units.reading() as work:
            with pytest.raises(NotFound):
                await work.users.find_hidden("external_id", value)

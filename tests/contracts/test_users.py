"""What every store of users promises."""

import json
from dataclasses import replace
from datetime import UTC
from typing import Any, Final

import pytest

from domain.errors import Conflict, Gone, Malformed, NotFound, Stale, UnitEnded
from domain.users import NewUser, Status, User
from domain.values import JsonObject
from domain.work import RequestContext, UnitsOfWork
from services.users import UserService

OUT_OF_RANGE: Final = [0, -1, 2**53, 2**63, 2**70]


async def test_a_user_is_stored_with_all_its_fields(units: UnitsOfWork, context: RequestContext) -> None:
    new = NewUser(
        name="Alice",
        email="Alice@Example.org",
        username=" ALICE ",
        external_id="A-1",
        status=Status.SUSPENDED,
        attributes={"a": [1, None]},
    )
    async with units.writing(context) as work:
        added = await work.users.add(new)
        await work.commit(None)
    async with units.reading() as work:
        kept = await work.users.get(added.id)
    assert kept == added == User(
        id=added.id,
        name="Alice",
        created_at=added.created_at,
        updated_at=added.created_at,
        version=1,
        email="Alice@Example.org",
        username=" ALICE ",
        external_id="A-1",
        status=Status.SUSPENDED,
        attributes={"a": [1, None]},
    )  # fmt: skip
    assert kept.status is Status.SUSPENDED


async def test_a_user_created_with_only_a_name_has_no_other_values(users: UserService) -> None:
    alice = await users.get(((await users.create(NewUser(name="Alice"))).result).id)
    assert (alice.email, alice.username, alice.external_id, alice.attributes) == (None, None, None, {})


async def test_the_times_of_a_user_are_the_times_of_its_units_in_utc(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        created_at = work.now
        alice = await work.users.add(NewUser(name="Alice"))
        await work.commit(None)
    async with units.writing(context) as work:
        updated_at = work.now
        await work.users.save((await work.users.get(alice.id)).deleted(work.now))
        await work.users.add(NewUser(name="Bob"))
        await work.commit(None)
    async with units.reading() as work:
        [bob] = await work.users.list(limit=10)
    assert (alice.created_at, alice.updated_at) == (created_at, created_at)
    assert (bob.created_at, bob.updated_at) == (updated_at, updated_at)
    assert {time.tzinfo for time in (created_at, alice.created_at, bob.created_at, bob.updated_at)} == {UTC}


async def test_save_raises_the_version_of_a_user_and_sets_updated_at(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org"))).result
    async with units.writing(context) as work:
        saved = await work.users.save(alice.revised(name="Alicia"))
        await work.commit(None)
    assert saved == replace(alice, name="Alicia", version=2, updated_at=work.now)
    assert await users.get(alice.id) == saved


async def test_a_unit_sees_its_own_writes(units: UnitsOfWork, users: UserService, context: RequestContext) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        alicia = await work.users.save(alice.revised(name="Alicia"))
        bob = await work.users.add(NewUser(name="Bob"))
        assert await work.users.get(alice.id) == alicia
        assert await work.users.get(bob.id) == bob
        assert await work.users.list(limit=10) == [alicia, bob]
        await work.users.save(bob.deleted(work.now))
        with pytest.raises(Gone):
            await work.users.get(bob.id)
        assert await work.users.list(limit=10) == [alicia]


async def test_uncommitted_writes_are_visible_to_nobody_else(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        bob = await work.users.add(NewUser(name="Bob"))
        await work.users.save(alice.revised(name="Alicia"))
        assert await users.get(alice.id) == alice
        with pytest.raises(NotFound):
            await users.get(bob.id)
        await work.commit(None)
    assert (await users.get(alice.id)).name == "Alicia"
    assert await users.get(bob.id) == bob


async def test_a_deleted_user_is_gone_and_hidden(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.delete(alice.id)
    with pytest.raises(Gone):
        await users.get(alice.id)
    async with units.writing(context) as work:
        with pytest.raises(Gone):
            await work.users.get(alice.id)
        assert await work.users.list(limit=10) == []


@pytest.mark.parametrize("id", [1, 7, *OUT_OF_RANGE])
async def test_an_unknown_id_is_not_found(units: UnitsOfWork, context: RequestContext, id: int) -> None:
    async with units.reading() as work:
        with pytest.raises(NotFound):
            await work.users.get(id)
    async with units.writing(context) as writing:
        with pytest.raises(NotFound):
            await writing.users.get(id)
        nobody = User(id=id, name="Nobody", created_at=writing.now, updated_at=writing.now, version=1)
        with pytest.raises(NotFound):
            await writing.users.save(nobody)


async def test_ids_rise_and_are_never_used_twice(users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    last = (await users.create(NewUser(name="Bob"))).result
    await users.delete(last.id)
    carol = (await users.create(NewUser(name="Carol"))).result
    assert alice.id < last.id < carol.id


async def test_a_save_of_an_older_version_is_stale(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    first = (await users.patch(alice.id, {"name": "Alicia"})).result
    async with units.writing(context) as work:
        with pytest.raises(Stale):
            await work.users.save(alice.revised(name="Lost"))
    assert await users.get(alice.id) == first


async def test_a_save_of_a_version_that_never_existed_is_stale(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        with pytest.raises(Stale):
            await work.users.save(replace(alice, version=7))


async def test_a_second_save_of_the_same_state_in_one_unit_is_stale(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        await work.users.save(alice.revised(name="Alicia"))
        with pytest.raises(Stale):
            await work.users.save(alice.revised(name="Lost"))


async def test_a_save_after_a_deletion_is_stale(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.delete(alice.id)
    async with units.writing(context) as work:
        with pytest.raises(Stale):
            await work.users.save(alice.revised(name="Lost"))


@pytest.mark.parametrize(
    ("field", "taken", "wanted"),
    [
        ("email", "Alice@Example.org", "aLICE@eXAMPLE.ORG"),
        ("email", "alice@example.org", " alice@example.org\u3000"),
        ("email", "e\u0301@example.org", "É@example.org"),
        ("username", "Straße", "STRASSE"),
        ("username", "STRAẞE", "strasse"),
        ("username", "ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("username", "İstanbul", "i\u0307stanbul"),
        ("username", "ﬁona", "FIONA"),
        ("username", "Ａｌｉｃｅ", "alice"),  # noqa: RUF001
        ("external_id", "A-1", "A-1"),
        ("external_id", "Straße", "Straße"),
    ],
)
async def test_a_key_that_another_has_is_a_conflict(users: UserService, field: str, taken: str, wanted: str) -> None:
    await users.create(NewUser(**keyed("Alice", field, taken)))
    bob = (await users.create(NewUser(name="Bob"))).result
    with pytest.raises(Conflict) as conflict:
        await users.create(NewUser(**keyed("Carol", field, wanted)))
    assert conflict.value.field == field
    with pytest.raises(Conflict) as conflict:
        await users.patch(bob.id, {field: wanted})
    assert conflict.value.field == field


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("email", "alice@example.org", "alice@example.com"),
        ("username", "Istanbul", "ıstanbul"),  # noqa: RUF001
        ("username", "İstanbul", "istanbul"),
        ("username", "é", "e"),
        ("username", "a b", "ab"),
        ("external_id", "A-1", "a-1"),
        ("external_id", "A-1", " A-1"),
        ("external_id", "Straße", "Strasse"),
        ("external_id", "e\u0301", "é"),
    ],
)
async def test_a_key_that_only_looks_similar_is_free(users: UserService, field: str, one: str, other: str) -> None:
    await users.create(NewUser(**keyed("Alice", field, one)))
    bob = (await users.create(NewUser(**keyed("Bob", field, other)))).result
    assert getattr(await users.get(bob.id), field) == other


async def test_the_same_value_can_be_the_email_of_one_user_and_the_username_of_another(users: UserService) -> None:
    await users.create(NewUser(name="Alice", email="same", username="other", external_id="third"))
    await users.create(NewUser(name="Bob", email="third", username="same", external_id="other"))
    assert len((await users.list(limit=10)).items) == 2


async def test_users_may_share_a_name_and_may_lack_keys(users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    await users.create(NewUser(name="ALICE"))
    assert len((await users.list(limit=10)).items) == 2


@pytest.mark.parametrize("field", ["email", "username", "external_id"])
async def test_a_user_may_keep_and_respell_its_own_key(users: UserService, field: str) -> None:
    alice = (await users.create(NewUser(**keyed("Alice", field, "key")))).result
    assert ((await users.patch(alice.id, {"name": "Alicia"})).result).version == 2
    assert getattr((await users.patch(alice.id, {field: "KEY"})).result, field) == "KEY"


@pytest.mark.parametrize("field", ["email", "username", "external_id"])
async def test_a_key_is_free_again_after_a_deletion_or_a_change(users: UserService, field: str) -> None:
    alice = (await users.create(NewUser(**keyed("Alice", field, "key")))).result
    await users.delete(alice.id)
    bob = (await users.create(NewUser(**keyed("Bob", field, "key")))).result
    await users.patch(bob.id, {field: None})
    carol = (await users.create(NewUser(**keyed("Carol", field, "key")))).result
    with pytest.raises(Conflict):
        await users.create(NewUser(**keyed("Dora", field, "key")))
    assert len({alice.id, bob.id, carol.id}) == 3


async def test_a_key_is_free_within_the_unit_that_released_it(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="key"))).result
    async with units.writing(context) as work:
        await work.users.save(alice.revised(email=None))
        await work.users.add(NewUser(name="Bob", email="key"))
        await work.commit(None)
    assert [user.email for user in (await users.list(limit=10)).items] == [None, "key"]


async def test_a_key_is_taken_within_the_unit_that_took_it(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice", email="key"))
        with pytest.raises(Conflict):
            await work.users.add(NewUser(name="Bob", email="KEY"))


async def test_lists_users_by_id_after_a_given_id(units: UnitsOfWork, users: UserService) -> None:
    created = [(await users.create(NewUser(name=name))).result for name in ("Zoe", "Adam", "Mia", "Ben")]
    await users.delete(created[1].id)
    living = [created[0], created[2], created[3]]
    async with units.reading() as work:
        assert await work.users.list(limit=10) == living
        assert await work.users.list(limit=2) == living[:2]
        assert await work.users.list(after=(living[0].id,), limit=10) == living[1:]
        assert await work.users.list(after=(created[1].id,), limit=1) == living[1:2]
        assert await work.users.list(after=(living[2].id,), limit=10) == []
        assert await work.users.list(limit=0) == []


async def test_returns_a_deleted_user_if_hidden_ones_are_requested(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice, bob = [(await users.create(NewUser(name=name))).result for name in ("Alice", "Bob")]
    await users.delete(alice.id)
    async with units.writing(context) as work:
        tombstone = await work.users.get(alice.id, hidden=True)
        assert await work.users.get(bob.id, hidden=True) == bob
    assert tombstone == replace(alice, version=2, updated_at=tombstone.updated_at, deleted_at=tombstone.updated_at)
    async with units.reading() as reading:
        assert await reading.users.get(alice.id, hidden=True) == tombstone
        with pytest.raises(NotFound):
            await reading.users.get(bob.id + 1, hidden=True)


@pytest.mark.parametrize(
    ("key", "kept", "asked", "other"),
    [
        ("email", "Alice@Example.org", " ALICE@EXAMPLE.ORG ", "alice@example.com"),
        ("username", "Straße", "STRASSE", "Strase"),
        ("username", "ΣΊΣΥΦΟΣ", "σίσυφος", "σισυφος"),
        ("username", "İstanbul", "i\u0307stanbul", "istanbul"),
        ("username", "Istanbul", "istanbul", "ıstanbul"),  # noqa: RUF001
        ("username", "ﬁ", "FI", "f"),
        ("username", "e\u0301", "É", "e"),
        ("external_id", "Straße", "Straße", "STRASSE"),
        ("external_id", "a/b%2F ?#é😀", "a/b%2F ?#é😀", "a/b/ ?#é😀"),
        ("external_id", " x", " x", "x"),
    ],
)
async def test_finds_a_user_by_the_folded_form_of_its_key(
    *, units: UnitsOfWork, users: UserService, context: RequestContext, key: str, kept: str, asked: str, other: str
) -> None:
    await users.create(NewUser(name="Bob"))
    alice = (await users.create(NewUser(**keyed("Alice", key, kept)))).result
    async with units.reading() as work, units.writing(context) as writing:
        for store in (work.users, writing.users):
            assert await store.find(key, kept) == await store.find(key, asked) == alice
            for nobody in (other, "", "\x00", f"{kept}\x00", "\ud800", "x" * 5000):
                with pytest.raises(NotFound):
                    await store.find(key, nobody)


@pytest.mark.parametrize("key", ["email", "username", "external_id"])
async def test_finds_the_user_that_has_the_key_now(
    units: UnitsOfWork, users: UserService, context: RequestContext, key: str
) -> None:
    alice = (await users.create(NewUser(**keyed("Alice", key, "key")))).result
    await users.delete(alice.id)
    with pytest.raises(NotFound):
        await users.find(key, "key")
    bob = (await users.create(NewUser(**keyed("Bob", key, "key")))).result
    assert await users.find(key, "key") == bob
    async with units.writing(context) as work:
        await work.users.save(bob.revised(**{key: "other"}))
        with pytest.raises(NotFound):
            await work.users.find(key, "key")
        carol = await work.users.add(NewUser(**keyed("Carol", key, "key")))
        assert await work.users.find(key, "key") == carol
    assert await users.find(key, "key") == bob


async def test_a_deleted_user_can_be_restored_if_its_keys_are_free(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="a", username="b", external_id="c"))).result
    await users.delete(alice.id)
    restored = (await users.restore(alice.id)).result
    assert restored == replace(alice, version=3, updated_at=restored.updated_at)
    assert await users.find("email", "A") == await users.find("external_id", "c") == restored
    await users.delete(alice.id)
    for key, value in (("email", "A"), ("username", "B"), ("external_id", "c")):
        thief = (await users.create(NewUser(**keyed("Eve", key, value)))).result
        with pytest.raises(Conflict) as conflict:
            await users.restore(alice.id)
        assert conflict.value.field == key
        await users.delete(thief.id)
    assert ((await users.restore(alice.id)).result).version == 5


async def test_an_erased_user_is_not_found_and_its_id_is_not_used_again(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="key"))).result
    async with units.writing(context) as work:
        await work.users.remove(alice)
        with pytest.raises(NotFound):
            await work.users.get(alice.id, hidden=True)
        with pytest.raises(NotFound):
            await work.users.find("email", "key")
        assert await users.get(alice.id) == alice
        await work.commit(None)
    for again in ("save", "remove"):
        async with units.writing(context) as work:
            with pytest.raises(NotFound):
                await getattr(work.users, again)(alice)
            with pytest.raises(UnitEnded):
                await work.users.get(alice.id)
    async with units.reading() as reading:
        with pytest.raises(NotFound):
            await reading.users.get(alice.id, hidden=True)
        assert await reading.users.list(limit=10) == []
    assert ((await users.create(NewUser(name="Bob", email="key"))).result).id > alice.id


@pytest.mark.parametrize("again", ["save", "remove"])
async def test_the_unit_that_erased_a_user_cannot_write_it_again(
    units: UnitsOfWork, users: UserService, context: RequestContext, again: str
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        await work.users.remove(alice)
        with pytest.raises(NotFound):
            await getattr(work.users, again)(alice)
        with pytest.raises(UnitEnded):
            await work.commit(None)
    assert await users.get(alice.id) == alice


async def test_an_erasure_of_another_version_is_stale(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    await users.delete(alice.id)
    async with units.writing(context) as work:
        with pytest.raises(Stale):
            await work.users.remove(alice)
        with pytest.raises(UnitEnded):
            await work.commit(None)
    async with units.writing(context) as work:
        with pytest.raises(NotFound):
            await work.users.remove(replace(alice, id=alice.id + 1))
        with pytest.raises(UnitEnded):
            await work.commit(None)
    async with units.writing(context) as work:
        await work.users.remove(await work.users.get(alice.id, hidden=True))
        await work.commit(None)
    with pytest.raises(NotFound):
        await users.restore(alice.id)


async def test_an_impossible_position_is_refused(units: UnitsOfWork, users: UserService) -> None:
    await users.create(NewUser(name="Alice"))
    async with units.reading() as work:
        for after in ((2**63,), (-(2**70),), ("1",), (None,), (1, 2), ()):
            with pytest.raises(Malformed):
                await work.users.list(after=after, limit=10)


ATTRIBUTES: Final[list[JsonObject]] = [
    {},
    {"": ""},
    {"z": 1, "a": 2, "m": {"y": 1, "b": 2}},
    {"numbers": [0, -0.0, 1.0, 0.1, 1e-300, 5e-324, 1.7976931348623157e308, 2**53 - 1, -(2**53) + 1, True, False]},
    {"nothing": None, "empty": [[], {}, ""]},
    {"😀": '\u2028 \u202e \ufeff \x01 \x7f "quoted" \\ / \' %s :x ? $1', "é": "e\u0301"},
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": "eight levels"}}}}}}},
    {"long": "😀" * 4093},
    {"__proto__": {"constructor": 1}, "id": 2, "name": "not the name"},
]


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=range(len(ATTRIBUTES)))
async def test_attributes_are_stored_exactly(users: UserService, attributes: JsonObject) -> None:
    alice = (await users.create(NewUser(name="Alice", attributes=attributes))).result
    assert json.dumps((await users.get(alice.id)).attributes) == json.dumps(attributes)
    bob = (await users.create(NewUser(name="Bob"))).result
    await users.patch(bob.id, {"name": "Robert"})
    assert (await users.get(bob.id)).attributes == {}


RARE: Final = "".join(chr(0x20000 + step) for step in range(255))  # four bytes each, and nothing to compress


@pytest.mark.parametrize(
    "texts",
    [
        {"name": RARE[:200], "email": RARE[:254], "username": RARE[:200], "external_id": RARE},
        {"name": "𐐀" * 200, "email": "𐐀" * 254, "username": "𐐀" * 200, "external_id": "𐐀" * 255},
        {"name": "ﷺ" * 11, "email": "ﷺ" * 14, "username": "ﷺ" * 11, "external_id": "ﷺ" * 255},
        {"name": "ß" * 100, "email": "ΐ" * 84, "username": "ﬃ" * 66, "external_id": "ﬃ" * 255},
        {"name": "'; --", "email": "%s:x$1?", "username": "\\", "external_id": "\x01\x7f\u2028"},
    ],
    ids=["rare", "wide", "expanding", "folding", "odd"],
)
async def test_the_longest_and_strangest_valid_texts_are_stored_exactly(
    users: UserService, texts: dict[str, Any]
) -> None:
    alice = await users.get(((await users.create(NewUser(**texts))).result).id)
    assert {field: getattr(alice, field) for field in texts} == texts
    for field in ("email", "username", "external_id"):
        with pytest.raises(Conflict):
            await users.create(NewUser(**keyed("Bob", field, texts[field])))


async def test_changing_an_entity_in_place_does_not_change_the_store(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    given: dict[str, Any] = {"a": {"b": 1}}
    async with units.writing(context) as work:
        added = await work.users.add(NewUser(name="Alice", attributes=given))
        given["a"]["b"] = 2
        spoil(added)
        spoil(await work.users.get(added.id))
        await work.commit(None)
    async with units.reading() as work:
        spoil((await work.users.list(limit=1))[0])
        spoil(await work.users.get(added.id))
        [change] = await work.changes.list(limit=1)
        assert change.after is not None
        assert change.after["attributes"] == {"a": {"b": 1}}
        spoil(change.after)
        [change] = await work.changes.list(limit=1)
        assert change.after is not None
        assert change.after["attributes"] == {"a": {"b": 1}}
    assert (await users.get(added.id)).attributes == {"a": {"b": 1}}


async def test_a_change_made_in_place_has_the_values_before_and_after(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", attributes={"a": {"b": 1}}))).result
    async with units.writing(context) as work:
        kept = await work.users.get(alice.id)
        spoil(kept)
        spoil(await work.users.save(kept))
        await work.commit(None)
    async with units.reading() as work:
        [_, change] = await work.changes.list(limit=10)
    assert change.before == {"attributes": {"a": {"b": 1}}}
    assert change.after == {"attributes": {"a": {"b": "spoilt 1"}}}


def keyed(name: str, field: str, value: str) -> dict[str, Any]:
    return {"name": name, field: value}


def spoil(holder: Any) -> None:
    """Changes, in place, the attributes of a user or the values of a change."""
    attributes: Any = holder.attributes if isinstance(holder, User) else holder["attributes"]
    attributes["a"]["b"] = f"spoilt {attributes['a']['b']}"

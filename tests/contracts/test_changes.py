"""What every record of changes promises."""

import json
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Final

import pytest

from domain.changes import FIELDS, Action, Change, Tally
from domain.errors import Conflict, Refusal
from domain.groups import NewGroup
from domain.idempotency import Committed
from domain.lists.terms import parse_filter
from domain.memberships import NewMembership
from domain.users import NewUser, Status
from domain.values import MAX_INTEGER, JsonObject
from domain.work import RequestContext, UnitsOfWork
from services.users import UserService


async def test_each_change_has_its_actor_its_time_and_the_values_before_and_after(units: UnitsOfWork) -> None:
    async with units.writing(RequestContext(actor="alice", request_id="r1")) as creation:
        user = await creation.users.add(NewUser(name="Bob", email="Bob@x.org", attributes={"a": 1, "b": [True]}))
        await creation.commit(None)
    async with units.writing(RequestContext(actor="carol", request_id="r2")) as update:
        user = await update.users.save(user.revised(name="Robert", email=None, attributes={"a": 1.0}))
        await update.commit(None)
    async with units.writing(RequestContext(actor="dora", request_id="r3")) as deletion:
        await deletion.users.save(user.deleted(deletion.now))
        await deletion.commit(None)
    deleted_at = deletion.now.isoformat().replace("+00:00", "Z")
    recorded = await feed(units)
    assert recorded == [
        Change(
            seq=recorded[0].seq, kind="user", entity_id=user.id, version=1, action=Action.CREATED,
            actor="alice", request_id="r1", at=creation.now, before=None,
            after={"name": "Bob", "email": "Bob@x.org", "status": "active", "attributes": {"a": 1, "b": [True]}},
            subjects=(("user", user.id),),
        ),
        Change(
            seq=recorded[1].seq, kind="user", entity_id=user.id, version=2, action=Action.UPDATED,
            actor="carol", request_id="r2", at=update.now,
            before={"name": "Bob", "email": "Bob@x.org", "attributes": {"a": 1, "b": [True]}},
            after={"name": "Robert", "email": None, "attributes": {"a": 1.0}}, subjects=(("user", user.id),),
        ),
        Change(
            seq=recorded[2].seq, kind="user", entity_id=user.id, version=3, action=Action.DELETED,
            actor="dora", request_id="r3", at=deletion.now,
            before={"deleted_at": None}, after={"deleted_at": deleted_at}, subjects=(("user", user.id),),
        ),
    ]  # fmt: skip
    assert recorded[0].seq < recorded[1].seq < recorded[2].seq
    assert {change.at.tzinfo for change in recorded} == {UTC}
    assert {type(change.action) for change in recorded} == {Action}


async def test_several_writes_of_one_user_in_a_unit_are_one_change(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        second = await work.users.save(alice.revised(name="Alicia"))
        third = await work.users.save(second.revised(status=Status.SUSPENDED))
        await work.users.save(third.revised(name="Ally"))
        await work.commit(None)
    [_, change] = await feed(units)
    assert (change.action, change.version) == (Action.UPDATED, 4)
    assert change.before == {"name": "Alice", "status": "active"}
    assert change.after == {"name": "Ally", "status": "suspended"}


async def test_a_user_that_is_added_and_changed_in_one_unit_has_one_change_created(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice", email="key"))
        await work.users.save(alice.revised(email=None))
        await work.commit(None)
    [change] = await feed(units)
    assert (change.action, change.version, change.before) == (Action.CREATED, 2, None)
    assert change.after == {"name": "Alice", "status": "active", "attributes": {}}


async def test_each_entity_of_a_unit_has_one_change_in_the_order_of_writing(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        bob = await work.users.add(NewUser(name="Bob"))
        await work.users.save(alice.revised(name="Alicia"))
        carol = await work.users.add(NewUser(name="Carol"))
        await work.commit(None)
    assert [change.entity_id for change in await feed(units)] == [alice.id, bob.id, alice.id, carol.id]


VALUES: Final[list[JsonObject]] = [
    {},
    {"": "", "nothing": None, "empty": [[], {}, ""]},
    {"z": 1, "a": 2, "m": {"y": 1, "b": 2}},
    {"numbers": [0, -0.0, 1.0, 0.1, 1e-300, 5e-324, 1.7976931348623157e308, 2**53 - 1, -(2**53) + 1, True, False]},
    {"😀": '\u2028 \u202e \ufeff \x01 \x7f "quoted" \\ / \' %s :x ? $1', "é": "e\u0301"},
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": "eight levels"}}}}}}},
    {"long": "😀" * 4093},
    {"json": '{"a": [1, null]}', "null": "null", "number": "1"},
]


@pytest.mark.parametrize("many", [False, True], ids=["a unit each", "one unit"])
async def test_changes_return_the_values_exactly(units: UnitsOfWork, context: RequestContext, many: bool) -> None:
    """Several changes of one unit are one statement, with all rows in one parameter."""
    news = [
        NewUser(name=f"'{number}\"\\ é😀", username=f"u\u2028{number}", attributes=each)
        for number, each in enumerate(VALUES)
    ]
    for batch in [news] if many else [[new] for new in news]:
        async with units.writing(context) as work:
            for new in batch:
                await work.users.add(new)
            await work.commit(None)
    recorded = await feed(units)
    assert [in_order(change.after) for change in recorded] == [
        in_order({"name": new.name, "username": new.username, "status": "active", "attributes": new.attributes})
        for new in news
    ]
    assert [change.before for change in recorded] == [None] * len(news)


def in_order(values: JsonObject | None) -> dict[str, str]:
    """Each value as text, so that 1, 1.0 and True differ, and another order of members differs too."""
    return {name: json.dumps(value) for name, value in (values or {}).items()}


async def test_thousands_of_changes_of_one_unit_are_in_the_order_of_writing(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        ids = [(await work.users.add(NewUser(name=f"User {number}"))).id for number in range(2000)]
        committed = await work.commit(None)
    async with units.reading() as work:
        recorded = await work.changes.list(limit=5000)
    assert [change.entity_id for change in recorded] == ids
    assert [change.after["name"] for change in recorded if change.after] == [f"User {number}" for number in range(2000)]
    assert [change.seq for change in recorded] == list(range(recorded[0].seq, recorded[0].seq + 2000))
    assert committed.seq == recorded[-1].seq


async def test_lists_the_changes_after_a_number_up_to_a_limit(units: UnitsOfWork, users: UserService) -> None:
    for number in range(4):
        await users.create(NewUser(name=f"User {number}"))
    recorded = await feed(units)
    async with units.reading() as work:
        assert await work.changes.list(limit=2) == recorded[:2]
        assert await work.changes.list(since=recorded[1].seq, limit=10) == recorded[2:]
        assert await work.changes.list(since=recorded[0].seq, limit=2) == recorded[1:3]
        assert await work.changes.list(since=recorded[3].seq, limit=10) == []
        assert await work.changes.list(limit=0) == []


async def test_lists_the_changes_about_one_entity(units: UnitsOfWork, users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    bob = (await users.create(NewUser(name="Bob"))).result
    await users.patch(alice.id, {"name": "Alicia"})
    await users.delete(alice.id)
    async with units.reading() as work:
        recorded = await work.changes.list(subject=("user", alice.id), limit=10)
        assert [change.version for change in recorded] == [1, 2, 3]
        assert {change.entity_id for change in recorded} == {alice.id}
        assert await work.changes.list(since=recorded[0].seq, subject=("user", alice.id), limit=1) == recorded[1:2]
        assert len(await work.changes.list(subject=("user", bob.id), limit=10)) == 1
        assert await work.changes.list(subject=("group", alice.id), limit=10) == []
        assert await work.changes.list(subject=("user", 7), limit=10) == []


@pytest.mark.parametrize("number", [2**53, 2**63, 2**70])
async def test_no_change_is_found_beyond_the_largest_numbers(
    units: UnitsOfWork, users: UserService, number: int
) -> None:
    await users.create(NewUser(name="Alice"))
    async with units.reading() as work:
        assert await work.changes.list(since=number, limit=10) == []
        assert await work.changes.list(subject=("user", number), limit=10) == []
        assert await work.changes.list(subject=("user", -number), limit=10) == []
        assert len(await work.changes.list(since=-number, limit=10)) == 1


async def test_a_unit_without_a_commit_writes_no_change(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice"))
    assert await feed(units) == []


async def test_a_unit_that_wrote_nothing_has_no_change(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        await work.users.get(alice.id)
        await work.commit(None)
    assert len(await feed(units)) == 1


async def test_a_unit_sees_the_changes_of_the_units_before_it(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    async with units.writing(context) as work:
        assert [change.entity_id for change in await work.changes.list(limit=10)] == [alice.id]


async def test_a_refused_write_adds_no_change(units: UnitsOfWork, users: UserService, context: RequestContext) -> None:
    await users.create(NewUser(name="Alice", email="key"))
    recorded = await feed(units)
    with pytest.raises(Conflict):
        await add_two(units, context)
    for refused in (users.patch(7, {"name": "X"}), users.delete(7), users.create(NewUser(name="X", email="KEY"))):
        with pytest.raises(Refusal):
            await refused
    assert await feed(units) == recorded


async def test_an_erasure_removes_the_values_from_every_change_of_the_user(
    units: UnitsOfWork, users: UserService
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="a@b.c"))).result
    await users.create(NewUser(name="Bob"))
    await users.patch(alice.id, {"name": "Alicia"})
    await users.delete(alice.id)
    await users.restore(alice.id)
    recorded = await feed(units)
    async with units.writing(RequestContext(actor="eraser", request_id="r9")) as work:
        await work.users.remove(await work.users.get(alice.id))
        await work.commit(None)
    *old, last = await feed(units)
    assert old == [
        replace(change, before=None, after=None) if change.entity_id == alice.id else change for change in recorded
    ]
    assert [change.action for change in old] == ["created", "created", "updated", "deleted", "restored"]
    assert last == Change(
        seq=last.seq, kind="user", entity_id=alice.id, version=5, action=Action.PURGED,
        actor="eraser", request_id="r9", at=work.now, before=None, after=None, subjects=(("user", alice.id),),
    )  # fmt: skip


async def test_an_erasure_that_is_not_committed_erases_nothing(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    recorded = await feed(units)
    async with units.writing(context) as work:
        await work.users.remove(alice)
    async with units.writing(replace(context, dry_run=True)) as tried:
        await tried.users.remove(alice)
        await tried.commit(None)
    assert await feed(units) == recorded
    assert await users.get(alice.id) == alice


async def test_a_user_that_is_added_and_erased_in_one_unit_leaves_no_change(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        await work.users.remove(await work.users.add(NewUser(name="Alice")))
        assert (await work.commit("nothing")) == Committed("nothing", None)
    assert await feed(units) == []


async def test_a_commit_returns_the_number_of_its_last_change(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        await work.users.add(NewUser(name="Bob"))
        committed = await work.commit("both")
    assert committed == Committed("both", (await feed(units))[-1].seq)
    assert await users.patch(alice.id, {"name": "Alice"}) == Committed(alice, None)


async def test_last_returns_the_number_of_the_last_change(units: UnitsOfWork, users: UserService) -> None:
    async with units.reading() as work:
        assert await work.changes.last() == 0
        for name in ("Alice", "Bob"):
            await users.create(NewUser(name=name))
            assert await work.changes.last() == (await feed(units))[-1].seq


FILTERS: Final = [
    ('action eq "updated"', [2, 5]),
    ('kind eq "user" and not (action eq "created")', [2, 3, 5]),
    ('kind eq "group"', []),
    ('actor eq "tester"', [0, 2, 3]),
    ('actor eq "Tester"', []),
    ('actor gt "Z" and actor lt "ZZZ"', [1]),
    ('request_id sw "r"', [0, 2, 3, 4, 5]),
    ("version ge 2", [2, 3, 5]),
    ("entity_id eq {bob}", [1]),
    ("entity_id ne {bob} and version eq 1", [0, 4]),
    ("seq gt {seq}", [3, 4, 5]),
    ('at ge "{at}"', [4, 5]),
    ('at lt "{at}"', [0, 1, 2, 3]),
]


async def test_lists_the_changes_that_match_a_filter(units: UnitsOfWork, users: UserService) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    bob = (await UserService(units, RequestContext(actor="ZZ", request_id="s1")).create(NewUser(name="Bob"))).result
    await users.patch(alice.id, {"name": "Alicia"})
    await users.delete(alice.id)
    somebody = UserService(units, RequestContext(actor="somebody", request_id="r2"))
    carol = (await somebody.create(NewUser(name="Carol"))).result
    await somebody.patch(carol.id, {"name": "Carola"})
    recorded = await feed(units)
    at = recorded[4].at.isoformat()
    for expression, matching in FILTERS:
        filter = parse_filter(expression.format(bob=bob.id, seq=recorded[2].seq, at=at), FIELDS)
        expected = [recorded[number] for number in matching]
        async with units.reading() as work:
            assert await work.changes.list(filter=filter, limit=10) == expected
            assert await work.changes.list(filter=filter, limit=1) == expected[:1]
            assert await work.changes.list(filter=filter, limit=0) == []
            for since in (recorded[0].seq, recorded[3].seq, 2**53, 2**70, -1):
                later = [change for change in expected if change.seq > since]
                assert await work.changes.list(filter=filter, since=since, limit=10) == later


async def add_two(units: UnitsOfWork, context: RequestContext) -> None:
    """The first would do; the second is refused."""
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Bob"))
        await work.users.add(NewUser(name="Carol", email="key"))
        await work.commit(None)


async def feed(units: UnitsOfWork) -> list[Change]:
    async with units.reading() as work:
        return list(await work.changes.list(limit=1000))


async def test_lists_the_newest_changes_first_below_a_number_and_by_filter(
    units: UnitsOfWork, users: UserService
) -> None:
    for name in ("Ann", "Bob", "Eve"):
        await users.create(NewUser(name=name))
    await users.delete(2)
    seqs = [change.seq for change in await feed(units)]

    async def latest(text: str | None = None, *, before: int = MAX_INTEGER, limit: int = 9) -> list[int]:
        filter = None if text is None else parse_filter(text, FIELDS)
        async with units.reading() as work:
            return [change.seq for change in await work.changes.latest(filter=filter, before=before, limit=limit)]

    assert await latest() == seqs[::-1]
    assert await latest(limit=2) == [seqs[3], seqs[2]]
    assert await latest(limit=0) == []
    assert await latest(before=seqs[2]) == [seqs[1], seqs[0]]
    assert await latest(before=seqs[0]) == []
    assert await latest('action eq "created"', limit=2) == [seqs[2], seqs[1]]
    assert await latest("entity_id eq 2") == [seqs[3], seqs[1]]


async def test_pages_of_the_newest_changes_about_a_user_include_its_memberships(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        group, alice = await work.groups.add(NewGroup(name="G")), await work.users.add(NewUser(name="Alice"))
        await work.users.add(NewUser(name="Bob"))
        await work.memberships.add(NewMembership(group_id=group.id, user_id=alice.id))
        await work.commit(None)
    for number in range(3):
        async with units.writing(context) as work:
            await work.users.save((await work.users.get(alice.id)).revised(name=f"Alice {number}"))
            await work.commit(None)
    subject = ("user", alice.id)
    async with units.reading() as work:
        oldest_first = await work.changes.list(subject=subject, limit=9)
        newest = await work.changes.latest(before=MAX_INTEGER, subject=subject, limit=2)
        older = await work.changes.latest(before=newest[-1].seq, subject=subject, limit=9)
        assert await work.changes.latest(before=MAX_INTEGER, subject=("user", MAX_INTEGER), limit=9) == []
    assert [*newest, *older] == oldest_first[::-1]
    assert {change.kind for change in older} == {"user", "membership"}


async def test_a_tally_counts_the_changes_of_each_day_up_to_a_limit(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        alice, bob = await work.users.add(NewUser(name="Alice")), await work.users.add(NewUser(name="Bob"))
        await work.groups.add(NewGroup(name="G"))
        await work.commit(None)
    async with units.writing(context) as work:
        await work.users.save(alice.revised(status=Status.SUSPENDED))
        await work.users.save(bob.revised(name="Robert"))
        await work.commit(None)
    day, created, updated = f"{work.now:%Y-%m-%d}", Action.CREATED, Action.UPDATED
    async with units.reading() as reading:
        tally = await reading.changes.tally(since=work.now - timedelta(days=1), most=99)
        newest = await reading.changes.tally(since=work.now - timedelta(days=1), most=2)
        assert await reading.changes.tally(since=work.now + timedelta(days=1), most=99) == []
    assert set(tally) == {
        Tally(day, "user", created, None, "active", 2),
        Tally(day, "group", created, None, None, 1),
        Tally(day, "user", updated, "active", "suspended", 1),
        Tally(day, "user", updated, None, None, 1),
    }
    assert set(newest) == {each for each in tally if each.action is updated}

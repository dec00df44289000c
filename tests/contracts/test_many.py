"""Many entities at once, on every store: the same result as one by one, in a few statements."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.contracts.sample import MemorySampleUnits, NewParticipation, NewProject, NewTask

from domain.changes import Action, Change
from domain.errors import Conflict, Invalid, NotFound, Stale, UnitEnded
from domain.groups import NewGroup
from domain.memberships import NewMembership
from domain.stores import Hidden
from domain.users import NewUser, Status, User
from domain.values import MAX_ID
from domain.work import RequestContext
from services.users import UserService

CONTEXT = RequestContext(actor="tester", request_id="r1")
ODD = ["plain", "'", '"', "\\", "a\nb\t\x01\x7f", "  😀 e\u0301 ß", "%s :x ? $1", '{"a": [1]}', "null", "0"]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemorySampleUnits()
    return request.getfixturevalue(f"sample_{request.param}")


async def added(units: Any, *new: NewUser) -> Sequence[User]:
    async with units.writing(CONTEXT) as work:
        users: Sequence[User] = await work.users.add_many(new)
        await work.commit(None)
        return users


async def changes(units: Any, since: int = 0) -> Sequence[Change]:
    async with units.reading() as work:
        found: Sequence[Change] = await work.changes.list(since=since, limit=1000)
        return found


async def everything(units: Any) -> Any:
    async with units.reading() as work:
        return await work.users.list(limit=100), await work.tasks.list(limit=100), await changes(units)


def odd_users() -> list[NewUser]:
    return [
        NewUser(
            name=text, email=f"{number}@EXAMPLE.org", external_id=text, status=Status.SUSPENDED,
            attributes={text: [text, number, 1.0, None, True, {"z": 1, "a": 2}]},
        )
        for number, text in enumerate(ODD)
    ]  # fmt: skip


async def test_add_many_stores_what_single_adds_store(units: Any) -> None:
    new = odd_users()
    at_once = await added(units, *new)
    async with units.writing(CONTEXT) as work:
        again = [replace(each, email=None, external_id=f"{each.external_id} 2") for each in new]
        one_by_one = [await work.users.add(each) for each in again]
        await work.commit(None)

    assert [each.id for each in at_once] == list(range(1, len(new) + 1))
    async with units.reading() as work:
        assert await work.users.list(limit=100) == [*at_once, *one_by_one]
        assert await work.users.find("email", "3@example.ORG") == at_once[3]
    recorded = await changes(units)
    assert [each.entity_id for each in recorded] == [each.id for each in (*at_once, *one_by_one)]
    assert [(each.action, each.version) for each in recorded] == [(Action.CREATED, 1)] * 2 * len(new)
    assert [without_keys(each) for each in recorded[: len(new)]] == [
        without_keys(each) for each in recorded[len(new) :]
    ]


def without_keys(change: Change) -> Any:
    return {name: value for name, value in (change.after or {}).items() if name not in {"email", "external_id"}}


async def test_json_documents_of_many_entities_are_stored_exactly(units: Any) -> None:
    """The order of members, the spelling of numbers and letters that JSON may escape are kept."""
    odd: Any = {"b": 1.0, "a": [1e300, -0.0, 2**53 - 1], "é\u2028😀": {"z": "\\u0041", "y": {}}, "": [[], '"']}
    user, other = await added(units, NewUser(name="A", attributes=odd), NewUser(name="B", scim={"x": odd}))
    async with units.writing(CONTEXT) as work:
        await work.users.save_many([replace(each, scim={"y": odd}) for each in (user, other)])
        await work.commit(None)
    async with units.reading() as work:
        first, second = await work.users.list(limit=9)
    stored = [first.attributes, first.scim, second.scim]
    recorded = [(each.after or {}).get("attributes") for each in await changes(units)]
    assert [json.dumps(each) for each in stored] == [json.dumps(each) for each in (odd, {"y": odd}, {"y": odd})]
    assert json.dumps(recorded[0]) == json.dumps(odd)


async def test_writing_an_empty_list_does_nothing(units: Any) -> None:
    async with units.writing(CONTEXT) as work:
        assert await work.users.add_many([]) == []
        assert await work.users.save_many([]) == []
        await work.users.end_many([])
        assert (await work.commit(None)).seq is None


async def test_one_conflict_refuses_all_of_add_many(units: Any) -> None:
    await added(units, NewUser(name="Alice", email="alice@example.org"))
    before = await everything(units)
    for taken in (
        [NewUser(name="Bob"), NewUser(name="Other", email="ALICE@example.org")],
        [NewUser(name="Bob", external_id="x"), NewUser(name="Other", external_id="x")],
    ):
        async with units.writing(CONTEXT) as work:
            with pytest.raises(Conflict) as refused:
                await work.users.add_many(taken)
            with pytest.raises(UnitEnded):
                await work.commit(None)
        assert refused.value.field in {"email", "external_id"}
        assert await everything(units) == before


async def test_get_many_returns_users_by_id_and_leaves_out_missing_ones(units: Any) -> None:
    alice, bob, carol = await added(units, NewUser(name="Alice"), NewUser(name="Bob"), NewUser(name="Carol"))
    async with units.writing(CONTEXT) as work:
        gone = await work.users.save((await work.users.get(bob.id)).deleted(work.now))
        await work.commit(None)

    asked = [carol.id, 4711, bob.id, alice.id, bob.id, 0, -1, MAX_ID, 2**64]
    for begin in (units.reading, lambda: units.writing(CONTEXT)):
        async with begin() as work:
            assert await work.users.get_many(asked) == [alice, gone, carol]
            assert await work.users.get_many([]) == []


async def test_find_many_returns_each_user_under_the_given_spelling(units: Any) -> None:
    alice, bob, gone = await added(
        units,
        NewUser(name="Alice", email="Alice@example.org", external_id="A"),
        NewUser(name="Bob", email="straße@example.org"),
        NewUser(name="Gone", email="gone@example.org"),
    )
    async with units.writing(CONTEXT) as work:
        await work.users.save(gone.deleted(work.now))
        await work.commit(None)

    spellings = ["ALICE@example.org", " alice@example.org", "STRASSE@example.org", "gone@example.org", ""]
    spellings += ["\x00", "\ud800"]
    for begin in (units.reading, lambda: units.writing(CONTEXT)):
        async with begin() as work:
            found = await work.users.find_many("email", spellings)
            assert found == {"ALICE@example.org": alice, " alice@example.org": alice, "STRASSE@example.org": bob}
            assert await work.users.find_many("external_id", ["a", "A"]) == {"A": alice}
            assert await work.users.find_many("external_id", []) == {}


async def test_save_many_stores_what_single_saves_store(units: Any) -> None:
    alice, bob, carol = await added(units, *odd_users()[:3])
    head = len(await changes(units))
    async with units.writing(CONTEXT) as work:
        saved = await work.users.save_many(
            [alice.revised(name="'Alicia'", email=None), carol.revised(attributes={"\\": "\n"}, username="carol")]
        )
        await work.commit(None)

    assert [(each.id, each.version) for each in saved] == [(alice.id, 2), (carol.id, 2)]
    async with units.reading() as work:
        assert await work.users.list(limit=10) == [saved[0], bob, saved[1]]
        assert await work.users.find("username", "CAROL") == saved[1]
    recorded = [
        (each.entity_id, each.action, each.version, each.before, each.after) for each in await changes(units, head)
    ]
    assert recorded == [
        (alice.id, Action.UPDATED, 2, {"name": alice.name, "email": alice.email}, {"name": "'Alicia'", "email": None}),
        (carol.id, Action.UPDATED, 2, {"attributes": carol.attributes, "username": None},
         {"attributes": {"\\": "\n"}, "username": "carol"}),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", [False, True], ids=["stale", "not there"])
async def test_one_stale_or_missing_entity_refuses_all_of_save_many_and_end_many(units: Any, missing: bool) -> None:
    alice, bob = await added(units, NewUser(name="Alice"), NewUser(name="Bob"))
    before = await everything(units)
    wrong = replace(bob, id=4711) if missing else replace(bob, version=7)
    for write in ("save_many", "end_many"):
        async with units.writing(CONTEXT) as work:
            with pytest.raises(NotFound if missing else Stale):
                await getattr(work.users, write)([alice.revised(name="Alicia"), wrong])
            with pytest.raises(UnitEnded):
                await work.commit(None)
        assert await everything(units) == before


async def test_an_entity_of_add_many_that_is_saved_in_the_same_unit_has_one_change(units: Any) -> None:
    async with units.writing(CONTEXT) as work:
        names = ["Alice", "Bob", "Carol", "Dora"]
        alice, bob, carol, _ = await work.users.add_many([NewUser(name=each, attributes={"a": 1}) for each in names])
        await work.users.save(bob.revised(name="Robert"))
        await work.users.remove(carol)
        alice.attributes["a"] = 2
        await work.commit(None)

    recorded = [(each.entity_id, each.version, (each.after or {})["name"]) for each in await changes(units)]
    assert recorded == [(1, 1, "Alice"), (2, 2, "Robert"), (4, 1, "Dora")]
    assert {(each.action, each.before) for each in await changes(units)} == {(Action.CREATED, None)}
    assert [(each.after or {})["attributes"] for each in await changes(units)] == [{"a": 1}] * 3


async def test_the_changes_of_add_many_have_the_references_as_subjects(units: Any) -> None:
    alice, bob = await added(units, NewUser(name="Alice"), NewUser(name="Bob"))
    async with units.writing(CONTEXT) as work:
        group = await work.groups.add(NewGroup(name="Engineers"))
        new = [NewMembership(group_id=group.id, user_id=id, role="'\"") for id in (alice.id, bob.id)]
        await work.memberships.add_many(new)
        await work.commit(None)

    for user in (alice, bob):
        async with units.reading() as work:
            _, joined = await work.changes.list(since=0, subject=("user", user.id), limit=9)
        assert set(joined.subjects) == {("membership", joined.entity_id), ("group", group.id), ("user", user.id)}
        assert joined.after == {"group_id": group.id, "user_id": user.id, "role": "'\""}


async def test_add_many_names_each_broken_reference_with_the_index_of_its_entity(units: Any) -> None:
    (alice,) = await added(units, NewUser(name="Alice"))
    async with units.writing(CONTEXT) as work:
        apollo = await work.projects.add(NewProject(name="Apollo", owner_id=alice.id))
        await work.commit(None)
    before = await everything(units)

    async with units.writing(CONTEXT) as work:
        with pytest.raises(Invalid) as refused:
            await work.participations.add_many(
                [
                    NewParticipation(project_id=apollo.id, user_id=alice.id),
                    NewParticipation(project_id=apollo.id, user_id=4711),
                    NewParticipation(project_id=4711, user_id=4712),
                ]
            )
    pointers = {fault.pointer for fault in refused.value.faults}
    assert pointers == {"/1/user_id", "/2/project_id", "/2/user_id"}
    assert {fault.code for fault in refused.value.faults} == {"not_found"}
    assert await everything(units) == before


async def test_save_many_checks_only_the_references_that_changed(units: Any) -> None:
    alice, bob = await added(units, NewUser(name="Alice"), NewUser(name="Bob"))
    async with units.writing(CONTEXT) as work:
        tasks = await work.tasks.add_many([NewTask(title=f"t{n}", assignee_id=alice.id) for n in range(3)])
        await work.commit(None)
    async with units.writing(CONTEXT) as work:
        moved = [tasks[0].revised(assignee_id=bob.id), tasks[1].revised(title="u"), tasks[2].revised(assignee_id=None)]
        saved = await work.tasks.save_many(moved)
        await work.commit(None)
    assert [(each.title, each.assignee_id) for each in saved] == [("t0", bob.id), ("u", alice.id), ("t2", None)]
    async with units.writing(CONTEXT) as work:
        with pytest.raises(Invalid) as refused:
            await work.tasks.save_many([saved[1].revised(title="v"), saved[0].revised(assignee_id=4711)])
    assert [fault.pointer for fault in refused.value.faults] == ["/1/assignee_id"]


async def test_deleting_and_restoring_many_users_changes_what_refers_to_them(units: Any) -> None:
    alice, bob = await added(units, NewUser(name="Alice"), NewUser(name="Bob"))
    async with units.writing(CONTEXT) as work:
        await work.tasks.add(NewTask(title="t", assignee_id=alice.id))
        await work.commit(None)
    async with units.writing(CONTEXT) as work:
        gone = await work.users.save_many([each.deleted(work.now) for each in (alice, bob)])
        await work.commit(None)
    async with units.reading() as work:
        assert await work.users.list(limit=9) == []
        assert [each.assignee_id for each in await work.tasks.list(limit=9)] == [None]
    async with units.writing(CONTEXT) as work:
        back = await work.users.save_many([each.restored() for each in gone])
        await work.commit(None)
    async with units.reading() as work:
        assert await work.users.list(limit=9) == back
    actions = [each.action for each in await changes(units) if each.kind == "user"]
    assert actions == [Action.CREATED] * 2 + [Action.DELETED] * 2 + [Action.RESTORED] * 2


async def test_deleting_many_users_changes_only_what_refers_to_each_of_them(units: Any) -> None:
    """Tasks are cleared, participations end, and memberships are hidden as of the time of their own user."""
    people = await added(units, *[NewUser(name=name) for name in ("Alice", "Bob", "Carol")])
    async with units.writing(CONTEXT) as work:
        group = await work.groups.add(NewGroup(name="G"))
        project = await work.projects.add(NewProject(name="P", owner_id=people[2].id))
        for each in people:
            await work.tasks.add(NewTask(title="t", assignee_id=each.id))
            await work.memberships.add(NewMembership(group_id=group.id, user_id=each.id))
            await work.participations.add(NewParticipation(project_id=project.id, user_id=each.id))
        await work.commit(None)
    head = len(await changes(units))
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]
    async with units.writing(CONTEXT) as work:
        gone = await work.users.save_many([each.deleted(at) for each, at in zip(people[:2], times, strict=True)])
        await work.commit(None)

    async with units.reading() as work:
        assert [each.assignee_id for each in await work.tasks.list(limit=9)] == [None, None, people[2].id]
        assert [each.user_id for each in await work.participations.list(limit=9)] == [people[2].id]
        hidden = await work.memberships.list(hidden=Hidden.ANY, limit=9)
        assert [(each.user_id, each.deleted_at) for each in hidden] == [
            (each.id, at) for each, at in zip(people, [*times, None], strict=True)
        ]
    recorded = await changes(units, head)
    assert {(each.before or {})["assignee_id"] for each in recorded if each.kind == "task"} == {1, 2}
    assert sorted(
        (each.action, (each.before or {})["user_id"]) for each in recorded if each.kind == "participation"
    ) == [
        (Action.ENDED, 1),
        (Action.ENDED, 2),
    ]
    async with units.writing(CONTEXT) as work:
        await work.users.save_many([each.restored() for each in gone])
        await work.commit(None)
    back = [each for each in await changes(units, head + len(recorded)) if each.kind == "membership"]
    assert sorted(str((each.before or {})["deleted_at"])[:10] for each in back) == ["2026-01-01", "2026-01-02"]
    async with units.reading() as work:
        assert [each.user_id for each in await work.memberships.list(limit=9)] == [each.id for each in people]


async def test_end_many_stores_what_single_ends_store(units: Any) -> None:
    alice, bob, carol = await added(units, *odd_users()[:3])
    async with units.writing(CONTEXT) as work:
        tasks = await work.tasks.add_many([NewTask(title=title, assignee_id=alice.id) for title in ODD])
        await work.commit(None)
    head = len(await changes(units))
    async with units.writing(CONTEXT) as work:
        await work.tasks.end_many(tasks[:4])
        for task in tasks[4:8]:
            await work.tasks.end(task)
        await work.commit(None)

    async with units.reading() as work:
        assert await work.tasks.list(limit=99) == tasks[8:]
    recorded = await changes(units, head)
    assert [(each.action, each.version, each.subjects) for each in recorded] == [
        (Action.ENDED, 2, (("task", task.id), ("user", alice.id))) for task in tasks[:8]
    ]
    assert [(each.before or {})["title"] for each in recorded] == ODD[:8]
    async with units.writing(CONTEXT) as work:
        await work.users.end_many([alice, carol])
        await work.commit(None)
    async with units.reading() as work:
        assert await work.users.list(limit=9) == [bob]
        assert {each.assignee_id for each in await work.tasks.list(limit=99)} == {None}


async def test_save_many_and_end_many_take_entities_that_the_same_unit_added(units: Any) -> None:
    async with units.writing(CONTEXT) as work:
        users = await work.users.add_many([NewUser(name="Alice"), NewUser(name="Bob")])
        saved = await work.users.save_many([each.revised(name=f"{each.name}2") for each in users])
        await work.users.end_many(saved[1:])
        await work.commit(None)
    recorded = await changes(units)
    assert [(each.entity_id, each.action, (each.after or {})["name"]) for each in recorded] == [
        (users[0].id, Action.CREATED, "Alice2")
    ]


async def test_hold_returns_an_entity_that_exists_and_refuses_others(units: Any) -> None:
    (alice,) = await added(units, NewUser(name="Alice"))
    async with units.writing(CONTEXT) as work:
        assert await work.users.hold(alice.id) == alice
        for missing in (alice.id + 1, 0, 2**64):
            with pytest.raises(NotFound):
                await work.users.hold(missing)
        await work.commit(None)
    await UserService(units, CONTEXT).delete(alice.id)
    async with units.writing(CONTEXT) as work:
        with pytest.raises(Exception, match="deleted"):
            await work.users.hold(alice.id)

"""References between entities, on every store: the target has to exist, and a rule says what its deletion does."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.contracts import sample
from tests.contracts.sample import (
    MemorySampleUnits,
    NewParticipation,
    NewProject,
    NewSubstitution,
    NewTask,
    Participation,
    Project,
    Task,
)

from domain.changes import Action, Change
from domain.entities import Entity
from domain.errors import BrokenReference, Conflict, InUse, Invalid, NotFound, Stale, UnitEnded
from domain.lists.fields import fields_of
from domain.lists.filters import equal
from domain.users import NewUser, User
from domain.work import RequestContext

CONTEXT = RequestContext(actor="tester", request_id="r1")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemorySampleUnits()
    return request.getfixturevalue(f"sample_{request.param}")


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"sample_{request.param}")


async def add(units: Any, store: str, new: Any) -> Any:
    async with units.writing(CONTEXT) as work:
        added = await getattr(work, store).add(new)
        await work.commit(None)
        return added


async def user(units: Any, name: str = "Alice") -> User:
    added: User = await add(units, "users", NewUser(name=name))
    return added


async def delete(units: Any, store: str, id: int) -> None:
    async with units.writing(CONTEXT) as work:
        entity = await getattr(work, store).get(id)
        await getattr(work, store).save(entity.deleted(work.now))
        await work.commit(None)


async def purge(units: Any, store: str, id: int) -> None:
    async with units.writing(CONTEXT) as work:
        entity = await getattr(work, store).get(id, hidden=True)
        await getattr(work, store).remove(entity)
        await work.commit(None)


async def changes(units: Any, *, subject: Entity | None = None, after: int = 0) -> list[Change]:
    about = None if subject is None else (subject.kind, subject.id)
    async with units.reading() as work:
        return list(await work.changes.list(subject=about, since=after, limit=100))


async def everything(units: Any) -> Any:
    async with units.reading() as work:
        names = ("users", "projects", "participations", "tasks")
        return [await getattr(work, name).list(limit=100) for name in names], await work.changes.list(limit=1000)


async def test_an_entity_can_refer_to_one_that_exists(units: Any) -> None:
    alice = await user(units)
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=alice.id))

    async with units.reading() as work:
        assert await work.projects.get(apollo.id) == apollo
        assert (await work.projects.list(filter=equal(PROJECTS_OWNER, alice.id), limit=10)) == [apollo]
        assert (await work.projects.list(filter=equal(PROJECTS_OWNER, alice.id + 1), limit=10)) == []


PROJECTS_OWNER = fields_of(Project, without={"deleted_at"})["owner_id"]


@pytest.mark.parametrize("deleted", [False, True], ids=["never there", "deleted"])
async def test_a_reference_to_a_missing_entity_is_refused_with_its_pointer(units: Any, deleted: bool) -> None:
    alice = await user(units)
    if deleted:
        await delete(units, "users", alice.id)
    missing = alice.id if deleted else alice.id + 1
    before = await everything(units)

    with pytest.raises(Invalid) as refused:
        await add(units, "projects", NewProject(name="Apollo", owner_id=missing))

    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/owner_id", "not_found")]
    assert await everything(units) == before


async def test_each_broken_reference_is_named(units: Any) -> None:
    with pytest.raises(Invalid) as refused:
        await add(units, "participations", NewParticipation(project_id=1, user_id=1))

    assert {fault.pointer for fault in refused.value.faults} == {"/project_id", "/user_id"}


async def test_only_a_reference_that_changed_is_checked(units: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    task: Task = await add(units, "tasks", NewTask(title="t", assignee_id=alice.id))

    async with units.writing(CONTEXT) as work:
        moved = await work.tasks.save((await work.tasks.get(task.id)).revised(assignee_id=bob.id))
        await work.commit(None)
    assert moved.assignee_id == bob.id

    with pytest.raises(Invalid):
        async with units.writing(CONTEXT) as work:
            await work.tasks.save((await work.tasks.get(task.id)).revised(assignee_id=bob.id + 100))

    async with units.writing(CONTEXT) as work:
        renamed = await work.tasks.save((await work.tasks.get(task.id)).revised(title="u"))
        await work.commit(None)
    assert (renamed.title, renamed.assignee_id) == ("u", bob.id)


async def test_an_entity_is_restored_only_if_its_references_exist(units: Any) -> None:
    alice = await user(units)
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=alice.id))
    await delete(units, "projects", apollo.id)
    await delete(units, "users", alice.id)

    with pytest.raises(Invalid) as refused:
        async with units.writing(CONTEXT) as work:
            await work.projects.save((await work.projects.get(apollo.id, hidden=True)).restored())

    assert refused.value.faults[0].pointer == "/owner_id"


async def test_deleting_a_referenced_user_is_refused_and_names_what_refers_to_it(units: Any) -> None:
    alice = await user(units)
    ids = [(await add(units, "projects", NewProject(name=f"p{i}", owner_id=alice.id))).id for i in range(4)]
    before = await everything(units)

    with pytest.raises(InUse) as refused:
        await delete(units, "users", alice.id)

    assert refused.value.holders == tuple(("project", id) for id in ids[:3])
    assert refused.value.field == "owner_id"
    assert f"project {ids[0]}" in refused.value.detail
    assert refused.value.detail.endswith("and more.")
    assert await everything(units) == before
    for id in ids:
        await delete(units, "projects", id)
    await delete(units, "users", alice.id)  # a deleted project stands in the way of an erasure only
    with pytest.raises(InUse):
        await purge(units, "users", alice.id)
    for id in ids:
        await purge(units, "projects", id)
    await purge(units, "users", alice.id)


@pytest.mark.parametrize("go", [delete, purge], ids=["deleted", "erased"])
async def test_participations_end_with_their_user_and_keep_their_history(units: Any, go: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=bob.id))
    his = await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=bob.id, role="lead"))
    hers = await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=alice.id, role="crew"))

    await go(units, "users", alice.id)

    async with units.reading() as work:
        assert await work.participations.list(limit=10) == [his]
        with pytest.raises(NotFound):
            await work.participations.get(hers.id)
    ended = (await changes(units))[-1] if go is purge else (await changes(units, subject=hers))[-1]
    found = [each for each in await changes(units, subject=hers) if each.action is Action.ENDED]
    assert len(found) == 1
    assert found[0].subjects == (("participation", hers.id), ("project", apollo.id), ("user", alice.id))
    assert ended.seq >= found[0].seq
    if go is delete:
        assert found[0].before == {"project_id": apollo.id, "user_id": alice.id, "role": "crew"}
        assert found[0].after == {"project_id": apollo.id, "user_id": alice.id}


@pytest.mark.parametrize("go", [delete, purge], ids=["deleted", "erased"])
async def test_a_task_stays_without_its_deleted_user(units: Any, go: Any) -> None:
    alice = await user(units)
    task: Task = await add(units, "tasks", NewTask(title="t", assignee_id=alice.id))

    await go(units, "users", alice.id)

    async with units.reading() as work:
        cleared = await work.tasks.get(task.id)
    assert (cleared.assignee_id, cleared.version) == (None, task.version + 1)
    change = (await changes(units, subject=task))[-1]
    assert (change.action, change.version) == (Action.UPDATED, 2)
    assert (change.before, change.after) == ({"assignee_id": alice.id}, {"assignee_id": None})
    assert change.subjects == (("task", task.id), ("user", alice.id))


async def test_a_deleted_task_loses_its_reference_only_when_the_user_is_erased(units: Any) -> None:
    alice = await user(units)
    task: Task = await add(units, "tasks", NewTask(title="t", assignee_id=alice.id))
    await delete(units, "tasks", task.id)
    await delete(units, "users", alice.id)
    async with units.reading() as work:
        assert (await work.tasks.get(task.id, hidden=True)).assignee_id == alice.id

    await purge(units, "users", alice.id)

    async with units.reading() as work:
        assert (await work.tasks.get(task.id, hidden=True)).assignee_id is None


async def test_ending_a_project_ends_its_participations(units: Any) -> None:
    alice = await user(units)
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=alice.id))
    member: Participation = await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=alice.id))

    async with units.writing(CONTEXT) as work:
        await work.projects.end(await work.projects.get(apollo.id))
        await work.commit(None)

    kinds = [(each.kind, each.action) for each in (await changes(units))[-2:]]
    assert sorted(kinds) == [("participation", Action.ENDED), ("project", Action.ENDED)]
    async with units.reading() as work:
        for store, id in (("projects", apollo.id), ("participations", member.id)):
            with pytest.raises(NotFound):
                await getattr(work, store).get(id)


async def test_a_composite_key_that_is_taken_names_the_same_fields_everywhere(units: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    apollo = await add(units, "projects", NewProject(name="Apollo", owner_id=alice.id))
    await add(units, "projects", NewProject(name="Apollo", owner_id=bob.id))
    await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=bob.id))

    with pytest.raises(Conflict) as taken:
        await add(units, "projects", NewProject(name="APOLLO", owner_id=alice.id))
    assert taken.value.fields == ("owner_id", "name")
    with pytest.raises(Conflict) as taken:
        await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=bob.id))
    assert taken.value.fields == ("project_id", "user_id")


async def test_everything_about_a_user_is_in_its_history(units: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=bob.id))
    hers = await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=alice.id))
    await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=bob.id))
    task: Task = await add(units, "tasks", NewTask(title="t", assignee_id=bob.id))
    async with units.writing(CONTEXT) as work:
        await work.tasks.save((await work.tasks.get(task.id)).revised(assignee_id=alice.id))
        await work.users.save((await work.users.get(alice.id)).revised(name="Alicia"))
        await work.commit(None)

    about = await changes(units, subject=alice)

    assert [(each.kind, each.entity_id, each.action) for each in about] == [
        ("user", alice.id, Action.CREATED),
        ("participation", hers.id, Action.CREATED),
        ("task", task.id, Action.UPDATED),
        ("user", alice.id, Action.UPDATED),
    ]
    assert [each.seq for each in about] == sorted(each.seq for each in about)
    assert ("task", task.id) in [each.subjects[0] for each in await changes(units, subject=bob)]
    halfway = about[1].seq
    assert await changes(units, subject=alice, after=halfway) == about[2:]
    async with units.reading() as work:
        assert list(await work.changes.list(subject=("user", alice.id), limit=2)) == about[:2]


async def test_an_erasure_removes_the_values_of_the_user_from_all_changes_about_it(units: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    apollo: Project = await add(units, "projects", NewProject(name="Apollo", owner_id=bob.id))
    await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=alice.id, role="secret of Alice"))
    his = await add(units, "participations", NewParticipation(project_id=apollo.id, user_id=bob.id, role="lead"))
    task: Task = await add(units, "tasks", NewTask(title="t", assignee_id=alice.id))

    await purge(units, "users", alice.id)

    for change in await changes(units, subject=alice):
        if change.kind in {"user", "participation"}:
            assert (change.before, change.after) == (None, None)
    assert [each.after for each in await changes(units, subject=his)] == [
        {"project_id": apollo.id, "user_id": bob.id, "role": "lead"}
    ]
    assert (await changes(units, subject=task))[0].after == {"title": "t", "assignee_id": alice.id}


async def test_all_participations_of_a_user_end_at_once(units: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    for number in range(5):
        project = await add(units, "projects", NewProject(name=f"p{number}", owner_id=bob.id))
        await add(units, "participations", NewParticipation(project_id=project.id, user_id=alice.id))
        await add(units, "participations", NewParticipation(project_id=project.id, user_id=bob.id))
    head = (await changes(units))[-1].seq

    async with units.writing(CONTEXT) as work:
        assert await work.participations.end_all("user_id", alice.id) == 5
        assert await work.participations.end_all("user_id", alice.id) == 0
        committed = await work.commit(None)

    written = await changes(units, after=head)
    assert [each.action for each in written] == [Action.ENDED] * 5
    assert [each.seq for each in written] == list(range(head + 1, head + 6))
    assert committed.seq == written[-1].seq
    async with units.reading() as work:
        assert {each.user_id for each in await work.participations.list(limit=100)} == {bob.id}


ODD_ROLES = ["'", '"', "\\", "a\nb\t\x01\x7f", "\u2028 😀 e\u0301 ß", "%s :x ? $1", '{"a": [1]}', "null", "0", None]


async def test_end_all_writes_the_same_changes_as_single_ends(units: Any) -> None:
    """The database writes these changes itself. Its JSON is the same as Python's, whatever the values are."""
    alice, bob = await user(units), await user(units, "Bob")
    for number, role in enumerate(ODD_ROLES):
        project = await add(units, "projects", NewProject(name=f"p{number}", owner_id=bob.id))
        for member in (alice, bob):
            await add(units, "participations", NewParticipation(project_id=project.id, user_id=member.id, role=role))
    head = (await changes(units))[-1].seq

    async with units.writing(CONTEXT) as work:
        assert await work.participations.end_all("user_id", alice.id) == len(ODD_ROLES)
        await work.commit(None)
    async with units.writing(CONTEXT) as work:
        for participation in await work.participations.list(limit=100):
            await work.participations.end(participation)
        await work.commit(None)

    written = [
        (each.action, each.version, each.before, each.after, each.subjects[1])
        for each in await changes(units, after=head)
    ]
    at_once, one_by_one = written[: len(ODD_ROLES)], written[len(ODD_ROLES) :]
    assert [each[2]["role"] for each in at_once if each[2]] == ODD_ROLES
    assert [with_user(bob.id, each) for each in at_once] == one_by_one
    assert len(await changes(units, subject=alice)) == 1 + 2 * len(ODD_ROLES)


def with_user(id: int, written: Any) -> Any:
    action, version, before, after, project = written
    return action, version, {**before, "user_id": id}, {**after, "user_id": id}, project


@pytest.mark.parametrize("go", [delete, purge], ids=["deleted", "erased"])
async def test_an_entity_that_refers_to_a_user_twice_ends_once(units: Any, go: Any) -> None:
    alice, bob = await user(units), await user(units, "Bob")
    both = await add(units, "substitutions", NewSubstitution(absent_id=alice.id, present_id=alice.id))
    one = await add(units, "substitutions", NewSubstitution(absent_id=bob.id, present_id=alice.id))
    other = await add(units, "substitutions", NewSubstitution(absent_id=bob.id, present_id=bob.id))
    head = (await changes(units))[-1].seq

    await go(units, "users", alice.id)

    async with units.reading() as work:
        assert await work.substitutions.list(limit=10) == [other]
    ended = [each for each in await changes(units, after=head) if each.kind == "substitution"]
    assert [(each.action, each.subjects) for each in ended] == [
        (Action.ENDED, (("substitution", both.id), ("user", alice.id))),
        (Action.ENDED, (("substitution", one.id), ("user", bob.id), ("user", alice.id))),
    ]
    assert [each for each in await changes(units, subject=alice) if each.kind == "substitution"][2:] == ended


@pytest.mark.parametrize("refused", ["conflict", "stale", "reference", "in use", "not found"])
async def test_a_refused_write_ends_the_unit(units: Any, refused: str) -> None:
    """PostgreSQL would refuse the rest of the transaction, so all stores end the unit."""
    alice, bob = await user(units), await user(units, "Bob")
    await add(units, "projects", NewProject(name="Apollo", owner_id=alice.id))
    before = await everything(units)

    async with units.writing(CONTEXT) as work:
        await work.users.add(NewUser(name="Carol"))
        writes = {
            "conflict": lambda: work.projects.add(NewProject(name="apollo", owner_id=alice.id)),
            "stale": lambda: work.users.save(replace(bob, version=7)),
            "reference": lambda: work.projects.add(NewProject(name="x", owner_id=4711)),
            "in use": lambda: work.users.save(alice.deleted(work.now)),
            "not found": lambda: work.users.save(replace(bob, id=4711)),
        }
        with pytest.raises((Conflict, Invalid, InUse, NotFound, Stale)):
            await writes[refused]()
        await ended(work, bob)

    assert await everything(units) == before


async def ended(work: Any, bob: User) -> None:
    """Every call of the unit raises, because it has ended."""
    uses = (
        lambda: work.users.get(bob.id),
        lambda: work.users.find("email", "bob@example.org"),
        lambda: work.users.list(limit=1),
        work.users.count,
        work.keys.any,
        work.changes.last,
        lambda: work.changes.list(limit=1),
        lambda: work.changes.list(subject=("user", bob.id), limit=1),
        lambda: work.users.add(NewUser(name="Dora")),
        lambda: work.projects.add(NewProject(name="Gemini", owner_id=bob.id)),
        lambda: work.users.save(bob.revised(name="Robert")),
        lambda: work.users.end(bob),
        lambda: work.users.remove(bob),
        lambda: work.participations.end_all("user_id", bob.id),
        lambda: work.commit(None),
        lambda: work.commit(None),
    )
    for use in uses:
        with pytest.raises(UnitEnded):
            await use()


@pytest.mark.parametrize("dry_run", [False, True], ids=["true run", "dry run"])
async def test_a_unit_whose_only_write_was_refused_cannot_be_committed(units: Any, dry_run: bool) -> None:
    """It has no changes, and its dry run has nothing to undo, so it would look like a unit that was committed."""
    bob = await user(units, "Bob")
    async with units.writing(replace(CONTEXT, dry_run=dry_run)) as work:
        with pytest.raises(Stale):
            await work.users.save(replace(bob, version=7))
        await ended(work, bob)


@pytest.mark.parametrize("dry_run", [False, True], ids=["true run", "dry run"])
async def test_a_unit_is_committed_once(units: Any, dry_run: bool) -> None:
    bob = await user(units, "Bob")
    async with units.writing(replace(CONTEXT, dry_run=dry_run)) as work:
        await work.commit(None)
        await ended(work, bob)


async def test_a_refused_read_does_not_end_the_unit(units: Any) -> None:
    alice = await user(units)
    async with units.writing(CONTEXT) as work:
        with pytest.raises(NotFound):
            await work.users.get(alice.id + 1)
        with pytest.raises(NotFound):
            await work.users.find("email", "nobody@example.org")
        await work.users.save((await work.users.get(alice.id)).revised(name="Alicia"))
        await work.commit(None)
    async with units.reading() as work:
        assert (await work.users.get(alice.id)).name == "Alicia"


async def test_a_unit_cannot_be_used_after_its_commit_or_its_block(units: Any) -> None:
    async with units.writing(CONTEXT) as work:
        await work.users.add(NewUser(name="Alice"))
        await work.commit(None)
        with pytest.raises(UnitEnded):
            await work.users.add(NewUser(name="Bob"))
    async with units.writing(CONTEXT) as work:
        pass
    with pytest.raises(UnitEnded):
        await work.users.add(NewUser(name="Bob"))
    async with units.reading() as work:
        assert await work.users.count() == 1


async def test_a_foreign_key_that_only_the_database_checks_refuses_the_write(databases: Any) -> None:
    """The refusal of a statement that no store runs."""
    broken = sa.insert(sample.tasks)
    async with databases.writing(CONTEXT) as work:
        now = work.now
        values = {"title": "t", "assignee_id": 4711, "created_at": now, "updated_at": now, "version": 1}
        with pytest.raises(BrokenReference):
            await work.unit.executor.fetch(broken, values)
        with pytest.raises(UnitEnded):
            await work.commit(None)

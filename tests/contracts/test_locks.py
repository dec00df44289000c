"""Locks are taken in one order on PostgreSQL, whatever the order of the calls: no two units wait for each other."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from tests.contracts.sample import NewProject, NewTask, Participation, Project, SampleUnits, Task

from domain.entities import Entity
from domain.errors import Contended
from domain.keys import Key
from domain.users import NewUser, User
from domain.work import RequestContext
from repositories.locks import LockOrder, Ranks

CONTEXT = RequestContext(actor="tester", request_id="r1")
ENTITIES: Iterable[type[Entity]] = (Participation, Project, User, Key, Task)


def order() -> LockOrder:
    return LockOrder(Ranks(ENTITIES), are_needed=True)


def test_entities_are_locked_before_those_that_refer_to_them() -> None:
    ranks = Ranks(ENTITIES)
    assert [ranks.of(each.kind) for each in (User, Project, Task, Participation)] == [0, 1, 1, 2]


def test_a_unit_waits_only_for_rows_that_come_after_its_locked_rows() -> None:
    locks = order()
    assert locks.may_wait("user", 7)
    locks.locked("user", 7)
    assert locks.may_wait("user", 7)  # it has that one
    assert locks.may_wait("user", 8)
    assert not locks.may_wait("user", 6)
    assert not locks.may_wait("key", 1)
    assert locks.may_wait("project", 1)
    assert not locks.may_wait_for_any("user")
    assert locks.may_wait_for_any("project")
    locks.locked("project", 3)
    assert not locks.may_wait("user", 9)
    assert not locks.may_wait_for_any("project")


def test_a_unit_may_wait_for_every_row_if_only_one_unit_writes_at_a_time() -> None:
    locks = LockOrder(Ranks(ENTITIES), are_needed=False)
    locks.locked("project", 3)
    assert locks.may_wait("user", 1)
    assert locks.may_wait_for_any("user")


async def prepared(units: Any) -> tuple[int, int]:
    async with units.writing(CONTEXT) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        apollo = await work.projects.add(NewProject(name="Apollo", owner_id=alice.id))
        await work.commit(None)
        return alice.id, apollo.id


async def cross(units: Any, alice: int, apollo: int) -> list[BaseException | None]:
    """One unit locks the user and then the project, another one the project and then the user, at the same time."""
    first_has, second_has = asyncio.Event(), asyncio.Event()

    async def one() -> None:
        async with units.writing(CONTEXT) as work:
            await work.users.get(alice)
            first_has.set()
            await second_has.wait()
            await work.projects.get(apollo)

    async def other() -> None:
        async with units.writing(CONTEXT) as work:
            await work.projects.get(apollo)
            second_has.set()
            await first_has.wait()
            await work.users.get(alice)

    async with asyncio.timeout(20):
        return list(await asyncio.gather(one(), other(), return_exceptions=True))


def sqlstate_of(outcome: BaseException | None) -> str | None:
    """What PostgreSQL said, if it was PostgreSQL that refused."""
    return getattr(getattr(outcome, "__cause__", None), "sqlstate", None)


async def test_a_unit_does_not_wait_for_a_lock_that_is_out_of_order(sample_postgres: SampleUnits) -> None:
    outcomes = await cross(sample_postgres, *await prepared(sample_postgres))

    assert outcomes[0] is None
    assert isinstance(outcomes[1], Contended)
    assert sqlstate_of(outcomes[1]) is None


async def test_two_units_deadlock_without_the_lock_order(
    sample_postgres: SampleUnits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the test above. PostgreSQL detects the deadlock after a second and ends one unit."""
    monkeypatch.setattr(LockOrder, "may_wait", lambda *_: True)

    outcomes = await cross(sample_postgres, *await prepared(sample_postgres))

    assert outcomes.count(None) == 1
    assert {sqlstate_of(each) for each in outcomes} == {None, "40P01"}


async def test_a_concurrent_deletion_leaves_no_reference_to_the_deleted_user(sample_postgres: Any) -> None:
    """The second unit sees what the first one did, so no task refers to a deleted user."""
    for _ in range(10):
        async with sample_postgres.writing(CONTEXT) as work:
            bob = await work.users.add(NewUser(name="Bob"))
            await work.commit(None)

        async def assign(id: int = bob.id) -> None:
            async with sample_postgres.writing(CONTEXT) as work:
                await work.tasks.add(NewTask(title="t", assignee_id=id))
                await work.commit(None)

        async def delete(id: int = bob.id) -> None:
            async with sample_postgres.writing(CONTEXT) as work:
                await work.users.save((await work.users.get(id)).deleted(work.now))
                await work.commit(None)

        await asyncio.gather(assign(), delete(), return_exceptions=True)

        async with sample_postgres.reading() as work:
            assert all(task.assignee_id != bob.id for task in await work.tasks.list(limit=1000))

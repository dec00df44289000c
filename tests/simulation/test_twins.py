"""Broken twins: each has one common fault, and the simulation has to find it."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

import pytest
from tests.simulation.run import Failure, first_failure, report
from tests.simulation.world import World

import services.operations
import services.users
from domain.changes import ChangePage
from domain.entities import Entity
from domain.errors import Contended, Uncertain
from domain.idempotency import Committed
from domain.users import NewUser, User
from domain.work import Clock, RequestContext
from repositories.fake import MemoryUnitOfWork
from repositories.memory.table import MemoryStore
from repositories.memory.units import MemoryWriting, Tables
from services.changes import ChangeService
from services.users import UserService

T = TypeVar("T")

SEEDS: Final = 20_000
Fault = Callable[[pytest.MonkeyPatch], None]


def a_forgotten_commit(patch: pytest.MonkeyPatch) -> None:
    async def delete(self: UserService, id: int, *, expected: Any = None) -> Committed[User]:
        async with self.units.writing(self.context) as work:
            user = await work.users.get(id)
            return Committed(await work.users.save(user.deleted(work.now)))

    patch.setattr(UserService, "delete", delete)


def a_lost_retry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UserService, "patch", UserService.patch.__wrapped__)  # type: ignore[attr-defined]


def a_retry_of_an_uncertain_commit(patch: pytest.MonkeyPatch) -> None:
    async def create(self: UserService, new: NewUser) -> Committed[User]:
        while True:
            try:
                async with self.units.writing(self.context) as work:
                    return await work.commit(await work.users.add(new))
            except (Contended, Uncertain):
                await self.units.pause(1)

    patch.setattr(UserService, "create", create)


def an_expected_version_that_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services.users, "require_version", lambda *_: None)


def a_read_in_another_unit_than_its_write(patch: pytest.MonkeyPatch) -> None:
    """Without the version in `save`, the last write wins."""

    async def change(self: UserService, id: int, change: Any, *, expected: Any = None) -> Committed[User]:
        async with self.units.reading() as reading:
            user = await reading.users.get(id)
        async with self.units.writing(self.context) as work:
            kept = await work.users.get(id)
            return await work.commit(await work.users.save(replace(user.patched(change), version=kept.version)))

    patch.setattr(UserService, "patch", services.operations.retry(change))


class Unlocked(asyncio.Lock):
    async def acquire(self) -> Any:
        return True

    def release(self) -> None:
        """Nothing is locked."""


def no_lock_around_a_unit(patch: pytest.MonkeyPatch) -> None:
    def begin(self: World) -> None:
        self.write_lock = Unlocked()
        post_init(self)

    post_init = World.__post_init__
    patch.setattr(World, "__post_init__", begin)


def no_copy_for_a_unit(patch: pytest.MonkeyPatch) -> None:
    """A unit that is not committed is not rolled back."""

    def begin(self: MemoryUnitOfWork, committed: Tables, context: RequestContext, clock: Clock) -> None:
        init(self, committed, context, clock)
        self.unit = MemoryWriting(committed, clock())

    init = MemoryUnitOfWork.__init__
    patch.setattr(MemoryUnitOfWork, "__init__", begin)


def changes_after_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """A connection that breaks between the write and its change leaves a write without a change."""

    async def commit(self: MemoryUnitOfWork, result: T) -> Committed[T]:
        if not self._context.dry_run:
            self._committed.rows = {kind: replace(rows) for kind, rows in self.unit.tables.rows.items()}
        await asyncio.sleep(0)
        if self._context.request_id.endswith(".1.0"):
            raise Uncertain("planted")
        committed: Committed[T] = await whole(self, result)
        return committed

    whole: Any = MemoryUnitOfWork.commit
    patch.setattr(MemoryUnitOfWork, "commit", commit)


def a_dry_run_that_commits(patch: pytest.MonkeyPatch) -> None:
    async def commit(self: MemoryUnitOfWork, result: T) -> Committed[T]:
        self._context = replace(self._context, dry_run=False)
        committed: Committed[T] = await whole(self, result)
        return committed

    whole: Any = MemoryUnitOfWork.commit
    patch.setattr(MemoryUnitOfWork, "commit", commit)


def answers_that_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryUnitOfWork, "_keep_answer", lambda *_: None)


def an_erasure_that_forgets_the_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryUnitOfWork, "_forget", lambda *_: None)


def an_erasure_that_forgets_the_answers(patch: pytest.MonkeyPatch) -> None:
    def forget(self: MemoryUnitOfWork, entity: Entity) -> None:
        answers = self.unit.tables.answers
        whole(self, entity)
        self.unit.tables.answers = answers

    whole = MemoryUnitOfWork._forget
    patch.setattr(MemoryUnitOfWork, "_forget", forget)


def a_restoration_of_what_was_taken(patch: pytest.MonkeyPatch) -> None:
    def require_unique(self: MemoryStore[Any, Any], entity: Any) -> None:
        before = self._rows.get(entity.id)
        if before is None or not before.is_hidden:
            whole(self, entity)

    whole = MemoryStore._require_unique
    patch.setattr(MemoryStore, "_require_unique", require_unique)


def a_version_that_stays(patch: pytest.MonkeyPatch) -> None:
    """A deletion keeps the version."""

    async def save(self: MemoryStore[Any, Any], entity: Any) -> Any:
        saved = await whole(self, entity)
        if not saved.is_hidden:
            return saved
        kept = replace(saved, version=entity.version)
        self.unit.journal.saved(entity, self._keep(kept))
        return kept

    whole = MemoryStore.save
    patch.setattr(MemoryStore, "save", save)


def ids_that_are_given_out_again(patch: pytest.MonkeyPatch) -> None:
    async def add(self: MemoryStore[Any, Any], new: Any) -> Any:
        self.unit.tables.rows[self._kind].last_id = max(self._rows, default=0)
        return await whole(self, new)

    whole = MemoryStore.add
    patch.setattr(MemoryStore, "add", add)


def an_end_of_a_page_that_is_read_too_late(patch: pytest.MonkeyPatch) -> None:
    async def changes(self: ChangeService, *, filter: Any = None, since: int, limit: int) -> ChangePage:
        async with self.units.reading() as work:
            found = await work.changes.list(filter=filter, since=since, limit=limit)
            return ChangePage.of(found, limit, since if filter is None else max(since, await work.changes.last()))

    patch.setattr(ChangeService, "list", services.operations.retry(changes))


FAULTS: Final[tuple[Fault, ...]] = (
    a_forgotten_commit,
    a_lost_retry,
    a_retry_of_an_uncertain_commit,
    an_expected_version_that_is_ignored,
    a_read_in_another_unit_than_its_write,
    no_lock_around_a_unit,
    no_copy_for_a_unit,
    changes_after_the_transaction,
    a_dry_run_that_commits,
    answers_that_are_not_kept,
    an_erasure_that_forgets_the_changes,
    an_erasure_that_forgets_the_answers,
    a_restoration_of_what_was_taken,
    a_version_that_stays,
    ids_that_are_given_out_again,
    an_end_of_a_page_that_is_read_too_late,
)


def found(fault: Fault, seeds: Iterable[int] = range(SEEDS)) -> Failure | None:
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        return first_failure(seeds)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_the_simulation_finds_each_planted_fault(fault: Fault) -> None:
    assert found(fault) is not None


def test_a_failure_names_the_broken_promise_and_every_step() -> None:
    with pytest.MonkeyPatch.context() as patch:
        a_forgotten_commit(patch)
        failure = first_failure(range(SEEDS))
        assert failure is not None
        text = report(failure)
    assert text.startswith(f"seed {failure.seed}:\n{failure.broken[0]}\n")
    assert "delete" in text

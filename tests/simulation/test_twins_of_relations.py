"""Broken twins with a fault in memberships, nested groups or webhooks: the simulation has to find each."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from tests.simulation.run import Plan
from tests.simulation.test_twins import SEEDS, Fault, found

import repositories.memory.nestings
from domain.changes import Change
from domain.delivery.deliveries import Answer, Delivery, Verdict
from domain.entities import Entity
from domain.journal import Journal
from domain.memberships import Membership
from repositories.fake import MemoryUnitOfWork
from repositories.memory.relations import MemoryRelations
from repositories.memory.table import MemoryStore
from services.delivery.ledger import Ledger
from services.delivery.outbox import Outbox


def a_deletion_that_leaves_the_memberships(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryRelations, "_hide", lambda *_: None)


def a_restoration_without_the_memberships(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryRelations, "bring_back", lambda *_: None)


def an_erasure_that_leaves_the_memberships(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryRelations, "_end", lambda *_: None)


def an_erasure_that_forgets_what_memberships_said(patch: pytest.MonkeyPatch) -> None:
    def forget(self: MemoryUnitOfWork, entity: Entity) -> None:
        before = self.unit.tables.changes
        whole(self, entity)
        kept = {change.seq: change for change in before if change.kind == Membership.kind}
        self.unit.tables.changes = [kept.get(change.seq, change) for change in self.unit.tables.changes]

    whole = MemoryUnitOfWork._forget
    patch.setattr(MemoryUnitOfWork, "_forget", forget)


def memberships_that_end_without_a_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "ended", lambda *_: None)


def a_member_who_is_in_twice(patch: pytest.MonkeyPatch) -> None:
    """Another transaction checked whether the user is a member, and no constraint is unique."""

    async def among(self: Any, group_id: int, user_ids: Any, *, hidden: bool = False) -> Sequence[Membership]:
        return []

    def require_unique(self: MemoryStore[Any, Any], entity: Any) -> None:
        if entity.kind != Membership.kind:
            whole(self, entity)

    whole = MemoryStore._require_unique
    patch.setattr(MemoryStore, "_require_unique", require_unique)
    patch.setattr("repositories.memory.memberships.MemoryMemberships.among", among)


def a_circle_of_groups(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(repositories.memory.nestings, "reached", lambda start, _: {start})


def a_circle_through_a_deleted_group(patch: pytest.MonkeyPatch) -> None:
    def children_in(tables: Any) -> Any:
        return repositories.memory.nestings.living(tables, whole(tables))

    whole = repositories.memory.nestings.children_in
    patch.setattr(repositories.memory.nestings, "children_in", children_in)


def a_message_that_failed_and_counts_as_delivered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Answer, "verdict", property(lambda _: Verdict.DELIVERED))


def a_position_that_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    """A message counts as delivered when it was read, so it is lost when the process dies."""
    patch.setattr(Outbox, "position", property(lambda self: self.read_to))


def a_change_that_does_not_wait_for_one_that_failed(patch: pytest.MonkeyPatch) -> None:
    def add(self: Outbox, changes: Iterable[Change], read_to: int) -> None:
        held, self._held = self._held, {}
        whole(self, changes, read_to)
        self._held = held

    def settle(self: Outbox, change: Change, outcome: Delivery) -> None:
        later, read_to = [*self._lines[outcome.subject]][1:], self.read_to
        settle_whole(self, change, outcome)
        if outcome.next_at is not None:
            self.read_to = change.seq
            self.add(later, read_to)

    whole, settle_whole = Outbox.add, Outbox._settle_fresh
    patch.setattr(Outbox, "add", add)
    patch.setattr(Outbox, "_settle_fresh", settle)


def failures_that_are_not_stored(patch: pytest.MonkeyPatch) -> None:
    async def keep(self: Ledger, progress: Any, deliveries: Any) -> None:
        await whole(self, progress, [])

    whole = Ledger.keep
    patch.setattr(Ledger, "keep", keep)


def a_page_of_the_feed_that_ends_too_far(patch: pytest.MonkeyPatch) -> None:
    """A change that is committed while a page is read is left out."""

    async def changes(self: Ledger, since: int, limit: int, filter: Any = None) -> Any:
        page = await whole(self, since, limit, filter)
        async with self.units.reading() as work:
            return replace(page, end=max(page.end, await work.changes.last()))

    whole = Ledger.changes
    patch.setattr(Ledger, "changes", changes)


FAULTS: Final[tuple[Fault, ...]] = (
    a_deletion_that_leaves_the_memberships,
    a_restoration_without_the_memberships,
    an_erasure_that_leaves_the_memberships,
    an_erasure_that_forgets_what_memberships_said,
    memberships_that_end_without_a_change,
    a_member_who_is_in_twice,
    a_circle_of_groups,
    a_circle_through_a_deleted_group,
)

FAULTS_OF_DELIVERY: Final[tuple[Fault, ...]] = (
    a_message_that_failed_and_counts_as_delivered,
    a_position_that_runs_ahead,
    a_change_that_does_not_wait_for_one_that_failed,
    failures_that_are_not_stored,
    a_page_of_the_feed_that_ends_too_far,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_the_simulation_finds_each_planted_fault(fault: Fault) -> None:
    assert found(fault) is not None


@pytest.mark.parametrize("fault", FAULTS_OF_DELIVERY, ids=lambda fault: str(fault.__name__))
def test_the_simulation_finds_each_planted_fault_of_delivery(fault: Fault) -> None:
    assert found(fault, (seed for seed in range(SEEDS) if Plan.of(seed).has_webhook)) is not None

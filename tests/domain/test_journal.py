"""What a unit of work notes, and the changes that it makes of its notes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.changes import Action, Journal, NewChange, differ
from domain.users import Status, User

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALICE = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1, email="a@example.org")


def changes_of(journal: Journal) -> list[NewChange]:
    return list(journal.changes(actor="tester", request_id="r1", at=NOW))


def revised(user: User, **fields: Any) -> User:
    return replace(user, version=user.version + 1, **fields)


def test_an_empty_journal_has_no_changes() -> None:
    assert changes_of(Journal()) == []


def test_tells_who_when_and_in_which_request() -> None:
    journal = Journal()
    journal.added(ALICE)
    [change] = changes_of(journal)
    assert (change.actor, change.request_id, change.at) == ("tester", "r1", NOW)
    assert (change.kind, change.entity_id, change.version) == ("user", 1, 1)


def test_an_added_entity_has_what_is_set_and_no_past() -> None:
    journal = Journal()
    journal.added(ALICE)
    [change] = changes_of(journal)
    assert (change.action, change.before) == (Action.CREATED, None)
    assert change.after == {"name": "Alice", "email": "a@example.org", "status": "active", "attributes": {}}


def test_a_saved_entity_has_only_what_differs() -> None:
    journal = Journal()
    journal.saved(ALICE, revised(ALICE, name="Alicia", email=None))
    [change] = changes_of(journal)
    assert (change.action, change.version) == (Action.UPDATED, 2)
    assert change.before == {"name": "Alice", "email": "a@example.org"}
    assert change.after == {"name": "Alicia", "email": None}


def test_several_saves_are_one_change_from_the_first_state_to_the_last() -> None:
    second = revised(ALICE, name="Alicia")
    third = revised(second, status=Status.SUSPENDED)
    journal = Journal()
    journal.saved(ALICE, second)
    journal.saved(second, third)
    [change] = changes_of(journal)
    assert (change.version, change.before, change.after) == (
        3,
        {"name": "Alice", "status": "active"},
        {"name": "Alicia", "status": "suspended"},
    )


def test_what_is_added_and_saved_was_created_as_it_is_last() -> None:
    journal = Journal()
    journal.added(ALICE)
    journal.saved(ALICE, revised(ALICE, email=None))
    [change] = changes_of(journal)
    assert (change.action, change.version, change.before) == (Action.CREATED, 2, None)
    assert change.after == {"name": "Alice", "status": "active", "attributes": {}}


def test_what_is_added_and_removed_leaves_no_trace() -> None:
    journal = Journal()
    journal.added(ALICE)
    journal.removed(ALICE)
    assert changes_of(journal) == []


def test_of_what_is_removed_nothing_is_told_but_that_it_was_purged() -> None:
    journal = Journal()
    journal.removed(ALICE)
    [change] = changes_of(journal)
    assert (change.action, change.version) == (Action.PURGED, 2)
    assert (change.before, change.after) == (None, None)


def test_tells_deletion_and_restoration_from_updates() -> None:
    tombstone = revised(ALICE, deleted_at=NOW)
    deletion, restoration, update = Journal(), Journal(), Journal()
    deletion.saved(ALICE, tombstone)
    restoration.saved(tombstone, revised(tombstone, deleted_at=None))
    update.saved(tombstone, revised(tombstone, name="Nobody"))
    actions = [changes_of(journal)[0].action for journal in (deletion, restoration, update)]
    assert actions == [Action.DELETED, Action.RESTORED, Action.UPDATED]


def test_times_are_told_in_utc_as_rfc_3339_has_them() -> None:
    journal = Journal()
    journal.saved(ALICE, revised(ALICE, deleted_at=NOW))
    [change] = changes_of(journal)
    assert (change.before, change.after) == ({"deleted_at": None}, {"deleted_at": "2026-01-02T03:04:05Z"})


def test_entities_are_told_in_the_order_in_which_they_were_first_noted() -> None:
    bob = replace(ALICE, id=2, name="Bob")
    journal = Journal()
    journal.added(bob)
    journal.added(ALICE)
    journal.saved(bob, revised(bob, name="Robert"))
    assert [change.entity_id for change in changes_of(journal)] == [2, 1]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"b": 0}, {"b": 0.0})])
def test_notes_a_difference_that_python_does_not_see(before: Any, after: Any) -> None:
    was = replace(ALICE, attributes={"a": before})
    became = replace(ALICE, attributes={"a": after})
    journal = Journal()
    journal.saved(was, became)
    assert differ(was, became)
    assert repr(changes_of(journal)[0].after) == repr({"attributes": {"a": after}})


def test_nothing_differs_between_two_versions_of_the_same() -> None:
    assert not differ(ALICE, revised(ALICE, updated_at=datetime.now(UTC)))

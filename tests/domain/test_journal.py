"""The notes of a unit of work, and the changes that are made from them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from domain.changes import Action, Change, ChangePage, NewChange
from domain.entities import Entity
from domain.journal import Additions, Journal, differ
from domain.keys import Key, Scope
from domain.references import Reference
from domain.users import Status, User

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALICE = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1, email="a@example.org")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat(Entity):
    """An entity that refers to others and is identified by its row."""

    kind: ClassVar[str] = "seat"
    references: ClassVar[tuple[Reference, ...]] = (Reference("user_id", User), Reference("guest_id", User))
    identified_by: ClassVar[tuple[str, ...]] = ("row",)

    id: int
    created_at: datetime
    updated_at: datetime
    version: int
    row: str
    user_id: int
    guest_id: int | None = None
    note: str | None = None


SEAT = Seat(id=1, created_at=NOW, updated_at=NOW, version=1, row="a", user_id=7)


def changes_of(journal: Journal) -> list[NewChange]:
    return list(journal.changes(actor="tester", request_id="r1", at=NOW))


def revised(user: User, **fields: Any) -> User:
    return replace(user, version=user.version + 1, **fields)


def test_an_empty_journal_has_no_changes() -> None:
    assert changes_of(Journal()) == []


def test_additions_that_are_identified_by_their_rows_are_separate_parts() -> None:
    journal = Journal()
    bob, carol, dora = (replace(ALICE, id=id) for id in (2, 3, 4))
    journal.added(ALICE)
    journal.added_many([bob, carol, dora])
    journal.added_many([SEAT])
    journal.saved(carol, revised(carol, name="Carola"))
    recorded = journal.parts(actor="tester", request_id="r1", at=NOW)
    changes = changes_of(journal)
    assert recorded == [
        [changes[0]],
        Additions("user", [2]),
        [changes[2]],
        Additions("user", [4]),
        Additions("seat", [1]),
    ]
    assert (changes[2].action, changes[2].version) == (Action.CREATED, 2)


def test_each_change_has_its_actor_its_time_and_its_request_id() -> None:
    journal = Journal()
    journal.added(ALICE)
    [change] = changes_of(journal)
    assert (change.actor, change.request_id, change.at) == ("tester", "r1", NOW)
    assert (change.kind, change.entity_id, change.version) == ("user", 1, 1)


def test_the_change_of_an_added_entity_has_its_values_and_no_before() -> None:
    journal = Journal()
    journal.added(ALICE)
    [change] = changes_of(journal)
    assert (change.action, change.before) == (Action.CREATED, None)
    assert change.after == {"name": "Alice", "email": "a@example.org", "status": "active", "attributes": {}}


def test_the_change_of_a_saved_entity_has_only_the_fields_that_differ() -> None:
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


def test_an_entity_that_is_added_and_saved_has_one_change_with_its_last_values() -> None:
    journal = Journal()
    journal.added(ALICE)
    journal.saved(ALICE, revised(ALICE, email=None))
    [change] = changes_of(journal)
    assert (change.action, change.version, change.before) == (Action.CREATED, 2, None)
    assert change.after == {"name": "Alice", "status": "active", "attributes": {}}


def test_an_entity_that_is_added_and_removed_leaves_no_change() -> None:
    journal = Journal()
    journal.added(ALICE)
    journal.removed(ALICE)
    assert changes_of(journal) == []


def test_the_change_of_a_removed_entity_has_no_values() -> None:
    journal = Journal()
    journal.removed(ALICE)
    [change] = changes_of(journal)
    assert (change.action, change.version) == (Action.PURGED, 2)
    assert (change.before, change.after) == (None, None)


def test_deletions_restorations_and_updates_have_different_actions() -> None:
    tombstone = revised(ALICE, deleted_at=NOW)
    deletion, restoration, update = Journal(), Journal(), Journal()
    deletion.saved(ALICE, tombstone)
    restoration.saved(tombstone, revised(tombstone, deleted_at=None))
    update.saved(tombstone, revised(tombstone, name="Nobody"))
    actions = [changes_of(journal)[0].action for journal in (deletion, restoration, update)]
    assert actions == [Action.DELETED, Action.RESTORED, Action.UPDATED]


def test_times_in_changes_are_in_utc_in_the_form_of_rfc_3339() -> None:
    journal = Journal()
    journal.saved(ALICE, revised(ALICE, deleted_at=NOW))
    [change] = changes_of(journal)
    assert (change.before, change.after) == ({"deleted_at": None}, {"deleted_at": "2026-01-02T03:04:05Z"})


def test_changes_are_in_the_order_in_which_their_entities_were_first_noted() -> None:
    bob = replace(ALICE, id=2, name="Bob")
    journal = Journal()
    journal.added(bob)
    journal.added(ALICE)
    journal.saved(bob, revised(bob, name="Robert"))
    assert [change.entity_id for change in changes_of(journal)] == [2, 1]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"b": 0}, {"b": 0.0})])
def test_values_that_python_compares_as_equal_still_differ(before: Any, after: Any) -> None:
    was = replace(ALICE, attributes={"a": before})
    became = replace(ALICE, attributes={"a": after})
    journal = Journal()
    journal.saved(was, became)
    assert differ(was, became)
    assert repr(changes_of(journal)[0].after) == repr({"attributes": {"a": after}})


def test_a_new_version_with_the_same_values_does_not_differ() -> None:
    assert not differ(ALICE, revised(ALICE, updated_at=datetime.now(UTC)))


def noted(*steps: tuple[Entity | None, Entity | None]) -> Journal:
    """A journal of what was added, saved or removed, by the states before and after."""
    journal = Journal()
    for before, after in steps:
        if before and after:
            journal.saved(before, after)
        elif after:
            journal.added(after)
        elif before:
            journal.removed(before)
    return journal


def ended(entity: Entity) -> Journal:
    journal = Journal()
    journal.ended(entity)
    return journal


def subjects_of(journal: Journal) -> tuple[tuple[str, int], ...]:
    [change] = changes_of(journal)
    return change.subjects


def test_a_change_is_about_its_entity() -> None:
    assert subjects_of(noted((None, ALICE))) == (("user", 1),)


def test_a_change_is_about_its_entity_first_then_about_those_that_it_refers_to() -> None:
    assert subjects_of(noted((None, SEAT))) == (("seat", 1), ("user", 7))
    assert subjects_of(noted((None, replace(SEAT, guest_id=8)))) == (("seat", 1), ("user", 7), ("user", 8))
    assert subjects_of(ended(SEAT)) == (("seat", 1), ("user", 7))
    assert subjects_of(noted((SEAT, None))) == (("seat", 1), ("user", 7))


def test_a_change_is_also_about_the_entities_that_it_referred_to_before() -> None:
    moved = replace(SEAT, version=2, user_id=9, guest_id=7)
    assert subjects_of(noted((SEAT, moved))) == (("seat", 1), ("user", 7), ("user", 9))


def test_the_change_of_an_ended_entity_has_its_old_values_and_its_identifying_fields() -> None:
    [change] = changes_of(ended(replace(SEAT, note="by the window")))
    assert (change.action, change.version) == (Action.ENDED, 2)
    assert change.before == {"row": "a", "user_id": 7, "guest_id": None, "note": "by the window"}
    assert change.after == {"row": "a"}


def test_the_change_of_an_erased_entity_has_no_values_not_even_identifying_ones() -> None:
    [change] = changes_of(noted((SEAT, None)))
    assert (change.action, change.before, change.after) == (Action.PURGED, None, None)


def test_every_change_has_the_identifying_fields_of_its_entity() -> None:
    [created] = changes_of(noted((None, SEAT)))
    [updated] = changes_of(noted((SEAT, replace(SEAT, version=2, note="by the window"))))
    assert (created.before, created.after) == (None, {"row": "a", "user_id": 7})
    assert (updated.before, updated.after) == ({"note": None}, {"row": "a", "note": "by the window"})


def test_an_entity_that_is_added_and_ended_leaves_no_change() -> None:
    journal = noted((None, SEAT))
    journal.ended(SEAT)
    assert changes_of(journal) == []
    assert journal.erased == []


def test_an_entity_that_is_saved_and_ended_has_its_first_values_as_before() -> None:
    journal = noted((SEAT, replace(SEAT, version=2, note="new")))
    journal.ended(replace(SEAT, version=2, note="new"))
    [change] = changes_of(journal)
    assert (change.action, change.version, change.before) == (
        Action.ENDED,
        3,  # the version that it was saved at, and one more
        {"row": "a", "user_id": 7, "guest_id": None, "note": None},
    )


def test_erased_lists_only_stored_entities_that_were_removed() -> None:
    bob, carol, dora = (replace(ALICE, id=id) for id in (2, 3, 4))
    journal = noted((ALICE, None), (bob, revised(bob, name="Robert")), (None, carol), (None, dora), (dora, None))
    journal.ended(SEAT)
    assert journal.erased == [ALICE]


def test_entities_of_different_kinds_with_the_same_id_have_separate_changes() -> None:
    journal = noted((None, ALICE), (SEAT, replace(SEAT, version=2, note="new")))
    recorded = [(change.kind, change.entity_id, change.action) for change in changes_of(journal)]
    assert recorded == [("user", 1, Action.CREATED), ("seat", 1, Action.UPDATED)]


def test_forget_drops_the_notes_of_an_entity() -> None:
    journal = noted((None, ALICE), (None, SEAT))
    journal.forget(SEAT)
    assert [change.kind for change in changes_of(journal)] == ["user"]
    journal.forget(SEAT)  # nothing is left of it to forget


def test_has_says_whether_the_journal_has_notes_of_a_kind() -> None:
    journal = noted((None, ALICE))
    assert journal.has("user")
    assert not journal.has("seat")
    assert not Journal().has("user")


def test_notes_of_a_savepoint_that_is_rolled_back_are_dropped() -> None:
    bob = replace(ALICE, id=2)
    journal = noted((None, ALICE))
    mark = journal.mark()
    journal.added(bob)
    journal.saved(ALICE, revised(ALICE, name="Alicia"))
    journal.rewind(mark)
    assert changes_of(journal) == changes_of(noted((None, ALICE)))
    journal.added(bob)  # the mark can be gone back to again
    journal.rewind(mark)
    assert [change.entity_id for change in changes_of(journal)] == [1]


def test_a_change_written_in_a_savepoint_that_is_rolled_back_does_not_count() -> None:
    journal = Journal()
    mark = journal.mark()
    journal.seq = 7
    later = journal.mark()
    journal.seq = 9
    journal.rewind(later)
    assert journal.seq == 7
    journal.rewind(mark)
    assert journal.seq is None


def test_a_new_journal_has_no_number_of_a_change() -> None:
    assert Journal().seq is None


def test_the_change_of_a_key_has_json_values_and_no_bookkeeping() -> None:
    key = Key(
        id=1,
        created_at=NOW,
        updated_at=NOW,
        version=1,
        name="admin",
        scopes=(Scope.SCIM, Scope.KEYS_ADMIN),
        expires_at=NOW,
    )
    [change] = changes_of(noted((None, key)))
    assert change.after == {"name": "admin", "scopes": ["scim", "keys:admin"], "expires_at": "2026-01-02T03:04:05Z"}
    assert change.after is not None
    assert {type(each) for each in [*change.after["scopes"], change.after["name"]]} == {str}  # type: ignore[misc]
    assert type(changes_of(noted((None, ALICE)))[0].after["status"]) is str  # type: ignore[index]


def test_a_revoked_key_was_deleted() -> None:
    key = Key(id=1, created_at=NOW, updated_at=NOW, version=1, name="admin", scopes=(Scope.SCIM,))
    [change] = changes_of(noted((key, replace(key, version=2, revoked_at=NOW))))
    assert (change.action, change.after) == (Action.DELETED, {"revoked_at": "2026-01-02T03:04:05Z"})


def kept(seq: int) -> Change:
    return Change(
        kind="user",
        entity_id=1,
        version=seq,
        action=Action.UPDATED,
        actor="tester",
        request_id="r1",
        at=NOW,
        before={},
        after={},
        subjects=(("user", 1),),
        seq=seq,
    )


@pytest.mark.parametrize(
    ("numbers", "looked_at", "end"),
    [
        ([], 7, 7),
        ([3], 7, 7),
        ([3, 9], 7, 9),  # full: more may follow at once
        ([3, 5], 7, 5),
        ([9], 7, 9),  # it came after the look
    ],
)
def test_a_page_ends_at_the_last_number_read_and_a_full_one_at_its_last_change(
    numbers: list[int], looked_at: int, end: int
) -> None:
    changes = [kept(number) for number in numbers]
    assert ChangePage.of(changes, 2, looked_at) == ChangePage(changes, end)


def test_a_page_with_limit_0_ends_at_the_last_number_read() -> None:
    assert ChangePage.of([], 0, 7).end == 7

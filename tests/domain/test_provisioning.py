"""Patches of the members of a group: consecutive patches become one."""

from typing import Final

from domain.provisioning import MembersPatch
from domain.references import Subject

ALICE: Final[Subject] = ("user", 1)
BOB: Final[Subject] = ("user", 2)
MAKERS: Final[Subject] = ("group", 1)


def is_group(member: Subject) -> bool:
    return member[0] == "group"


def is_bob(member: Subject) -> bool:
    return member == BOB


def test_a_patch_is_empty_if_it_does_nothing() -> None:
    assert MembersPatch().is_empty
    assert not MembersPatch(add={ALICE}).is_empty
    assert not MembersPatch(remove={ALICE}).is_empty
    assert not MembersPatch(replaces=True).is_empty
    assert not MembersPatch(matching=(is_group,)).is_empty


def test_all_members_are_read_only_to_replace_or_to_match_them() -> None:
    assert not MembersPatch(add={ALICE}, remove={BOB}).reads_all
    assert MembersPatch(replaces=True).reads_all
    assert MembersPatch(matching=(is_group,)).reads_all


def test_a_later_addition_takes_back_a_removal() -> None:
    for patch in (MembersPatch(remove={ALICE, BOB}), MembersPatch(replaces=True), MembersPatch(matching=(is_bob,))):
        assert patch.removes(BOB)
        assert not patch.then_add({BOB}).removes(BOB)


def test_a_patch_removes_only_the_members_that_it_names_or_matches() -> None:
    assert not MembersPatch(add={ALICE}).removes(BOB)
    assert not MembersPatch(remove={ALICE}).removes(BOB)
    assert not MembersPatch(matching=(is_group,)).removes(BOB)
    assert MembersPatch(matching=(is_group, is_bob)).removes(BOB)


def test_the_later_of_an_addition_and_a_removal_wins() -> None:
    added = MembersPatch(add={MAKERS}, remove={ALICE, BOB}).then_add({ALICE})
    assert (added.add, added.remove) == ({MAKERS, ALICE}, {BOB})
    removed = MembersPatch(add={ALICE, BOB}, remove={MAKERS}).then_remove({ALICE})
    assert (removed.add, removed.remove) == ({BOB}, {MAKERS, ALICE})


def test_a_later_removal_by_match_takes_back_an_addition() -> None:
    patch = MembersPatch(add={ALICE, MAKERS}, matching=(is_bob,)).then_remove_matching(is_group)
    assert patch.add == {ALICE}
    assert patch.matching == (is_bob, is_group)

"""What is to be done to the members of a group: patches that follow each other become one."""

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


def test_a_patch_is_empty_as_long_as_nothing_is_to_be_done() -> None:
    assert MembersPatch().is_empty
    assert not MembersPatch(add={ALICE}).is_empty
    assert not MembersPatch(remove={ALICE}).is_empty
    assert not MembersPatch(replaces=True).is_empty
    assert not MembersPatch(matching=(is_group,)).is_empty


def test_all_members_are_read_to_replace_them_or_to_find_some() -> None:
    assert not MembersPatch(add={ALICE}, remove={BOB}).reads_all
    assert MembersPatch(replaces=True).reads_all
    assert MembersPatch(matching=(is_group,)).reads_all


def test_what_is_added_stays() -> None:
    for patch in (MembersPatch(remove={ALICE, BOB}), MembersPatch(replaces=True), MembersPatch(matching=(is_bob,))):
        assert patch.removes(BOB)
        assert not patch.then_add({BOB}).removes(BOB)


def test_nobody_else_is_removed() -> None:
    assert not MembersPatch(add={ALICE}).removes(BOB)
    assert not MembersPatch(remove={ALICE}).removes(BOB)
    assert not MembersPatch(matching=(is_group,)).removes(BOB)
    assert MembersPatch(matching=(is_group, is_bob)).removes(BOB)


def test_the_later_one_counts() -> None:
    added = MembersPatch(add={MAKERS}, remove={ALICE, BOB}).then_add({ALICE})
    assert (added.add, added.remove) == ({MAKERS, ALICE}, {BOB})
    removed = MembersPatch(add={ALICE, BOB}, remove={MAKERS}).then_remove({ALICE})
    assert (removed.add, removed.remove) == ({BOB}, {MAKERS, ALICE})


def test_members_that_match_are_not_added_any_more() -> None:
    patch = MembersPatch(add={ALICE, MAKERS}, matching=(is_bob,)).then_remove_matching(is_group)
    assert patch.add == {ALICE}
    assert patch.matching == (is_bob, is_group)

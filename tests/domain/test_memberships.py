"""Memberships, and the result of a change of the members of a group."""

from datetime import UTC, datetime

from domain.groups import Group
from domain.memberships import MembersChanged, Membership

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_change_of_members_is_about_their_group() -> None:
    group = Group(id=7, name="Engineers", created_at=NOON, updated_at=NOON, version=1)
    assert MembersChanged(group, added=1, changed=0, removed=2).about is group


def test_a_direct_membership_is_through_its_group() -> None:
    member = Membership(id=3, group_id=7, user_id=9, created_at=NOON, updated_at=NOON, version=1)
    assert member.via == (7,)

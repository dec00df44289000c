"""The result of a change of the members of a group."""

from datetime import UTC, datetime

from domain.groups import Group
from domain.memberships import MembersChanged

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_change_of_members_is_about_their_group() -> None:
    group = Group(id=7, name="Engineers", created_at=NOON, updated_at=NOON, version=1)
    assert MembersChanged(group, added=1, changed=0, removed=2).about is group

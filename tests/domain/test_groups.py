"""What lists of groups can be sorted by."""

import pytest

from domain.errors import Malformed
from domain.groups import ALL_FIELDS
from domain.lists.pages import parse_sort
from domain.users import FIELDS


@pytest.mark.parametrize("name", ["members", "parts"])
def test_groups_cannot_be_sorted_by_their_members(name: str) -> None:
    with pytest.raises(Malformed, match="no such field to sort by"):
        parse_sort(name, ALL_FIELDS)


def test_users_cannot_be_sorted_by_their_groups() -> None:
    with pytest.raises(Malformed, match="no such field to sort by"):
        parse_sort("groups", FIELDS)

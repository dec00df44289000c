"""The orders of changes."""

import pytest

from domain.changes import BY_SEQ, NEWEST_FIRST
from domain.lists.pages import Sort


@pytest.mark.parametrize(("sort", "order"), [(BY_SEQ, -1), (NEWEST_FIRST, 1)])
def test_changes_are_sorted_by_their_numbers_in_both_directions(sort: Sort, order: int) -> None:
    assert sort.compare((1,), (2,)) == order

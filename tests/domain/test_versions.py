"""Nobody overwrites a version that they have not seen."""

from collections.abc import Collection

import pytest

from domain.errors import Stale
from domain.values import MAX_INTEGER
from domain.versions import ANY_VERSION, NOT_THERE, Expected, require_version


@pytest.mark.parametrize(
    ("version", "expected", "unwanted"),
    [
        (3, None, ()),
        (3, [3], ()),
        (3, [2, 3], [2]),
        (3, ANY_VERSION, ()),
        (1, ANY_VERSION, ()),
        (MAX_INTEGER, ANY_VERSION, ()),
        (NOT_THERE, None, ANY_VERSION),
        (NOT_THERE, [NOT_THERE], ()),
    ],
)
def test_an_expected_version_is_accepted(version: int, expected: Expected, unwanted: Collection[int]) -> None:
    require_version(version, expected, unwanted)


@pytest.mark.parametrize(
    ("version", "expected", "unwanted"),
    [
        (3, [], ()),
        (3, [2, 4], ()),
        (3, None, [3]),
        (3, [3], [3]),
        (3, None, ANY_VERSION),
        (MAX_INTEGER, None, ANY_VERSION),
        (NOT_THERE, ANY_VERSION, ()),
        (NOT_THERE, None, [NOT_THERE]),
    ],
)
def test_another_version_is_stale(version: int, expected: Expected, unwanted: Collection[int]) -> None:
    with pytest.raises(Stale):
        require_version(version, expected, unwanted)

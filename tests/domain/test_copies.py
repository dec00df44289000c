"""The result of copying a directory."""

import pytest

from domain.copies import Comparison, Sum

USERS = Sum(rows=2, checksum="a1")


def test_a_table_is_the_same_if_its_rows_and_its_checksum_are() -> None:
    assert Comparison("users", USERS, Sum(rows=2, checksum="a1")).is_same


@pytest.mark.parametrize("target", [Sum(rows=3, checksum="a1"), Sum(rows=2, checksum="a2")])
def test_a_table_differs_if_its_rows_or_its_checksum_do(target: Sum) -> None:
    assert not Comparison("users", USERS, target).is_same

"""The findings of an examination of the database."""

import pytest

from domain.findings import Finding, Level, finding


def test_a_finding_that_is_ok_has_no_fix() -> None:
    found = finding("schema", "at its head", ok=True, fix="roster db upgrade")
    assert found == Finding("schema", Level.OK, "at its head")


@pytest.mark.parametrize("worst", [Level.WARN, Level.FAIL])
def test_a_finding_that_is_not_ok_has_a_fix(worst: Level) -> None:
    found = finding("schema", "too old", ok=False, fix="roster db upgrade", worst=worst)
    assert found == Finding("schema", worst, "too old", "roster db upgrade")


def test_a_finding_that_is_not_ok_is_a_failure_by_default() -> None:
    assert finding("schema", "too old", ok=False, fix="roster db upgrade").level is Level.FAIL

"""The findings of an examination of the database."""

import pytest

from domain.findings import Finding, Level, finding


def test_what_is_as_it_should_be_needs_no_help() -> None:
    found = finding("schema", "at its head", ok=True, fix="roster db upgrade")
    assert found == Finding("schema", Level.OK, "at its head")


@pytest.mark.parametrize("worst", [Level.WARN, Level.FAIL])
def test_what_is_not_comes_with_what_helps(worst: Level) -> None:
    found = finding("schema", "too old", ok=False, fix="roster db upgrade", worst=worst)
    assert found == Finding("schema", worst, "too old", "roster db upgrade")


def test_a_finding_is_a_failure_unless_it_is_less() -> None:
    assert finding("schema", "too old", ok=False, fix="roster db upgrade").level is Level.FAIL

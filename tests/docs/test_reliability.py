"""That docs/reliability.md has every bound with its default, and names tests that are there."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

from domain.limits import LIMITS, Limits

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reliability.md").read_text()


def test_the_page_has_every_bound_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([0-9.]+)` \|", PAGE, re.MULTILINE)
    assert rows == [(each.name.upper(), str(getattr(LIMITS, each.name))) for each in fields(Limits)]


def test_the_tests_that_the_page_names_exist() -> None:
    named = re.findall(r"`(?:tests/[\w/]*/)?(test_\w+\.py)`", PAGE)
    there = {each.name for each in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert set(named) <= there

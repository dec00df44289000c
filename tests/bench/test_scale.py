"""The model of docs/scale.md: its figures are those on the page, and they follow the assumptions."""

from dataclasses import replace
from pathlib import Path

import pytest
from bench.scale import SIZES, Assumptions, line, need_of, row

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.mark.parametrize("users", SIZES)
def test_the_page_has_what_the_model_says(users: int) -> None:
    assert line(row(need_of(users, Assumptions()))) in PAGE.read_text()


def test_ten_times_the_users_need_ten_times_the_processes() -> None:
    small, large = (need_of(users, Assumptions()) for users in (10**8, 10**9))
    assert large.processes == pytest.approx(10 * small.processes, rel=0.01)
    assert large.writers == pytest.approx(10 * small.writers)


def test_the_model_shows_when_writes_exceed_one_primary() -> None:
    busy = replace(Assumptions(), writes_per_user_per_day=1.0)
    assert need_of(10**6, busy).writers < 1 < need_of(10**8, busy).writers

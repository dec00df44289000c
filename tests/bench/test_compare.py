"""When the comparison fails."""

import pytest
from bench.compare import uneven
from bench.figures import Cell, Figure

MIXED = Cell("postgresql", "roster", "mixed", 64)


def figure(p99_us: float) -> Figure:
    return Figure(requests_per_s=1, p50_us=1000, p99_us=p99_us, cpu_us=1, errors=0)


@pytest.mark.parametrize(("p99_us", "code"), [(4990, 0), (5000, 1)])
def test_fails_if_requests_of_the_mixed_load_take_five_times_the_median(p99_us: float, code: int) -> None:
    assert uneven({MIXED: figure(p99_us)}) == code


def test_only_the_mixed_load_on_roster_has_to_be_even() -> None:
    others = [Cell("sqlite", "tutorial", "mixed", 64), Cell("sqlite", "roster", "create", 64)]
    assert uneven({MIXED: figure(2000), **dict.fromkeys(others, figure(9000))}) == 0

from bench.figures import Cell, Sample, cpu_ratio, figures_of, shared

FLOOR = Cell("sqlite", "floor", "get", 16)
ROSTER = Cell("sqlite", "roster", "get", 16)


def sample(cell: Cell, cpu_us: float, **errors: int) -> Sample:
    return Sample(cell, 0, requests=100, seconds=0.5, p50_us=cpu_us, p99_us=9, cpu_us=cpu_us, errors=errors)


def test_a_figure_is_the_median_of_its_rounds() -> None:
    figures = figures_of([sample(FLOOR, cpu_us) for cpu_us in (900, 100, 200)])
    assert (figures[FLOOR].cpu_us, figures[FLOOR].p50_us, figures[FLOOR].requests_per_s) == (200, 200, 200)


def test_errors_are_added_up() -> None:
    assert figures_of([sample(FLOOR, 1, status=2, read=1), sample(FLOOR, 1, timeout=4)])[FLOOR].errors == 7


def test_compares_cpu_per_request() -> None:
    figures = figures_of([sample(FLOOR, 100), sample(ROSTER, 250)])
    assert cpu_ratio(figures, ROSTER, FLOOR) == 2.5


def test_a_contender_that_was_not_measured_is_not_compared() -> None:
    assert cpu_ratio(figures_of([sample(ROSTER, 250)]), ROSTER, FLOOR) is None
    assert cpu_ratio(figures_of([sample(ROSTER, 250), sample(FLOOR, 0)]), ROSTER, FLOOR) is None


def test_a_contender_without_a_database_is_measured_once() -> None:
    (found,) = shared([sample(FLOOR, 100), sample(ROSTER, 250)], frozenset({"floor"}), "postgresql")
    assert found == sample(Cell("postgresql", "floor", "get", 16), 100)

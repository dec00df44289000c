from xml.etree import ElementTree as ET

import pytest
from bench import chart, growth, tables
from bench.figures import Cell, Figures, figures_of
from bench.tables import milliseconds
from tests.bench.test_figures import sample


@pytest.fixture
def figures() -> Figures:
    cpu = {"floor": 100, "tutorial": 500, "roster": 250}
    cells = [Cell("sqlite", name, "get", clients) for name in cpu for clients in (1, 16, 64)]
    return figures_of([sample(cell, cpu[cell.contender]) for cell in cells])


def test_the_comparison_has_both_ratios(figures: Figures) -> None:
    lines = tables.comparison(figures).splitlines()
    assert [line for line in lines if "roster" in line][:2] == ["| **roster** | 2.50 |", "| **roster** | 1.00 |"]
    assert [line for line in lines if "tutorial" in line][:2] == ["| tutorial | 5.00 |", "| tutorial | 0.50 |"]


def test_the_comparison_has_every_number_of_clients(figures: Figures) -> None:
    assert "| floor | 200 / 200 / 200 | 0.10 / 0.10 / 0.10 | 0.01 / 0.01 / 0.01 | 100 / 100 / 100 | 0 / 0 / 0 |" in (
        tables.comparison(figures)
    )


def test_the_comparison_shows_errors_in_bold() -> None:
    cell = Cell("sqlite", "tutorial", "mixed", 64)
    assert "| **7** |" in tables.comparison(figures_of([sample(cell, 500, status=7)]))


def test_a_ratio_with_a_missing_figure_is_left_out() -> None:
    assert "| **roster** | - |" in tables.comparison(figures_of([sample(Cell("sqlite", "roster", "get", 16), 250)]))


@pytest.mark.parametrize(
    ("microseconds", "text"), [(4, "0.00"), (170, "0.17"), (1234, "1.23"), (98_765, "98.8"), (1_234_567, "1,235")]
)
def test_milliseconds_have_three_digits(microseconds: float, text: str) -> None:
    assert milliseconds(microseconds) == text


def test_the_chart_has_a_bar_for_each_contender_in_proportion(figures: Figures) -> None:
    drawing = ET.fromstring(chart.draw(figures))
    bars = drawing.findall("{http://www.w3.org/2000/svg}rect")
    assert [int(bar.attrib["width"]) for bar in bars] == [chart.BAR // 5, chart.BAR, chart.BAR // 2]
    assert [bar.attrib["fill"] for bar in bars] == [chart.THEIRS, chart.THEIRS, chart.OURS]


def test_growth_is_shown_as_a_multiple_of_the_smallest() -> None:
    cells = [Cell("sqlite", size, each, 1) for size in ("1000", "1000000") for each in growth.OPERATIONS]
    text = growth.report(figures_of([sample(cell, 100 if cell.contender == "1000" else 110) for cell in cells]))
    assert "|  | CPU µs at 1,000 | times at 1,000,000 | p50 ms at 1,000 | times at 1,000,000 |" in text
    assert "| get by id | 100 | 1.10 | 0.10 | 1.10 |" in text

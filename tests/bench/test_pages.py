import pytest
from bench.errors import BenchError
from bench.results import PAGE, with_section

TEXT = "# A\n<!-- memory -->\nold\n<!-- /memory -->\nend\n"


def test_the_text_between_the_marks_is_replaced() -> None:
    assert with_section(TEXT, "memory", "new\n") == "# A\n<!-- memory -->\n\nnew\n\n<!-- /memory -->\nend\n"


def test_figures_can_be_inserted_again() -> None:
    once = with_section(TEXT, "memory", "new")
    assert with_section(once, "memory", "new") == once


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(BenchError):
        with_section("# A\n", "memory", "new")


@pytest.mark.parametrize("name", ["comparison", "growth", "memory", "machine"])
def test_the_page_has_the_marks(name: str) -> None:
    assert with_section(PAGE.read_text(), name, "new")

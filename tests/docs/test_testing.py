"""The example of docs/testing.md runs, and the files that it names exist."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "testing.md").read_text()


async def test_the_example_passes(page: str) -> None:
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    [test] = (each for name, each in namespace.items() if name.startswith("test_"))
    await test()


def test_every_path_on_the_page_exists(page: str) -> None:
    places = set(re.findall(r"tests/[\w/.]+", page))
    assert "tests/contracts" in places
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []

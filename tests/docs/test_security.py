"""The files that SECURITY.md names exist, and the source does not have what it rules out."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ITEMS: Final = {f"API{number}" for number in range(1, 11)}
CLIENTS: Final = {
    "aiohttp", "ftplib", "h11", "http.client", "httpcore2", "httpx", "httpx2", "requests", "smtplib", "urllib.request",
    "urllib3",
}  # fmt: skip


@pytest.fixture
def page() -> str:
    return (ROOT / "SECURITY.md").read_text()


def answers_in(page: str) -> dict[str, list[str]]:
    """The paths beside each item of the OWASP table."""
    rows = re.findall(r"^\| (API\d+) [^|]*\|[^|]*\|([^|]*)\|$", page, re.MULTILINE)
    return {item: re.findall(r"`([^`]+)`", cell) for item, cell in rows}


def test_every_item_names_a_file_that_exists(page: str) -> None:
    answers = answers_in(page)

    assert answers.keys() == ITEMS
    for item, paths in answers.items():
        assert paths, item
        assert [path for path in paths if not (ROOT / path).is_file()] == [], item


def test_every_item_names_a_test(page: str) -> None:
    assert [item for item, paths in answers_in(page).items() if not any("tests/" in path for path in paths)] == []


def test_every_path_on_the_page_exists(page: str) -> None:
    places = set(re.findall(r"(?:src|tests|docs)/[\w/.]+", page))

    assert len(places) > 20
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []


def test_every_setting_on_the_page_exists(page: str) -> None:
    from api.settings import Settings  # noqa: PLC0415

    named = {name.lower() for name in re.findall(r"`ROSTER_([A-Z_]+)`", page)}
    assert named
    assert named <= set(Settings.model_fields)


def imported_by(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def calls_out(source: str) -> bool:
    return any(name == client or name.startswith(f"{client}.") for name in imported_by(source) for client in CLIENTS)


CALLING: Final = {f"src/api/delivery/{name}.py" for name in ("connection", "pool", "poster")}
"""The only modules that send messages to webhooks."""


def test_nothing_else_in_the_source_calls_another_server() -> None:
    files = list((ROOT / "src").rglob("*.py"))

    assert len(files) > 40
    assert {str(file.relative_to(ROOT)) for file in files if calls_out(file.read_text())} == CALLING


@pytest.mark.parametrize(
    "line", ["import httpx2", "from urllib import request", "import urllib.request as r", "from http.client import X"]
)
def test_a_call_to_another_server_is_detected(line: str) -> None:
    assert calls_out(f"def f():\n    {line}\n")

"""The example of docs/adding-an-entity.md is applied to a copy of the project, and works there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "adding-an-entity.md"

BLOCK: Final = re.compile(
    r"^`(?P<path>\S+\.py)`:\n\n```python\n(?P<text>.*?)^```$|^```diff\n(?P<diff>.*?)^```$", re.MULTILINE | re.DOTALL
)
HUNK: Final = re.compile(r"^@@ .*\n", re.MULTILINE)
CHANGED_FILE: Final = re.compile(r"^--- a/(?P<path>\S+)\n\+\+\+ b/(?P=path)\n", re.MULTILINE)

OF_OPERATIONS: Final = ("tests/api/test_read_only_fields.py", "tests/api/web/test_authorisation.py")
"""Tests of every operation. Only those of the new operations run here."""

JUDGED_BY: Final = (
    "tests/api/test_teams.py",
    "tests/api/test_container.py",
    "tests/api/web/test_openapi.py",
    "tests/services/test_operations.py",
    "tests/services/test_forgotten_commits.py",
    "tests/contracts/test_references.py",
    "tests/contracts/test_agreement.py",
    "tests/repositories/test_migrations.py",
)
"""The page's own tests, and those that look at every noun, method and table."""


def numbered(page: str, folder: Path) -> str:
    """The page with the number of its migration raised, if Roster has more migrations by now."""
    last = max(int(file.name[:4]) for file in (folder / "src/repositories/migrations/versions").glob("0*.py"))
    own = int(re.search(r"versions/(\d{4})_", page)[1])  # type: ignore[index]
    if last < own:
        return page
    return page.replace(f"{own:04}", f"{last + 1:04}").replace(f"{own - 1:04}", f"{last:04}")


HEAD_OF_THE_PAGE, NEXT_OF_THE_PAGE = "0042", "0043"
"""The page numbers its migration from here, so that a new migration of the project does not change the page."""


def numbered_after(head: str, page: str) -> str:
    """The page with its migration after the last one of the project."""
    return page.replace(NEXT_OF_THE_PAGE, f"{int(head) + 1:04}").replace(HEAD_OF_THE_PAGE, head)


def follow(page: str, folder: Path) -> Iterator[str]:
    """Does what the page says, from its beginning to its end. Returns the files that it has written."""
    versions = folder / "src" / "repositories" / "migrations" / "versions"
    head = max(file.name for file in versions.glob("[0-9]*.py"))[:4]
    for block in BLOCK.finditer(numbered_after(head, page)):
        if block["diff"] is None:
            file = folder / block["path"]
            assert not file.exists(), f"{block['path']} is to be new"
            file.write_text(block["text"])
            yield block["path"]
        else:
            yield from change(block["diff"], folder)


def change(diff: str, folder: Path) -> Iterator[str]:
    _, *parts = CHANGED_FILE.split(diff)
    for path, hunks in zip(parts[::2], parts[1::2], strict=True):
        text = (folder / path).read_text()
        for hunk in HUNK.split(hunks)[1:]:
            before, after = sides(hunk)
            assert text.count(before) == 1, f"{path} does not hold once:\n{before}"
            text = text.replace(before, after)
        (folder / path).write_text(text)
        yield path


def sides(hunk: str) -> tuple[str, str]:
    """The lines before a hunk is applied, and those after it."""
    lines = hunk.removesuffix("\n").split("\n")
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    return before, after


def lines_of_new_source(page: str) -> int:
    blocks = (block for block in BLOCK.finditer(page) if (block["path"] or "").startswith("src/"))
    return sum(block["text"].count("\n") for block in blocks)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, to work in."""
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "openapi.json", "schemathesis.toml"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


def run(copy: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env={"PYTHONPATH": str(copy / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # the plugins load slowly
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.heavy  # runs 700 tests in a copy of the project
def test_the_entity_of_the_page_works_and_breaks_nothing(copy: Path) -> None:
    followed = set(follow(numbered(PAGE.read_text(), copy), copy))
    source = {path for path in followed if path.startswith("src/")}
    (copy / "openapi.json").write_text(run(copy, "api.commands.main", "openapi"))

    assert len(source) == 10
    assert f"It takes five new files of source, {lines_of_new_source(PAGE.read_text())} lines" in PAGE.read_text()
    run(copy, "ruff", "check", "--no-cache", "--fix", "--select", "I", ".")
    run(copy, "ruff", "check", "--no-cache", ".")
    run(copy, "ruff", "format", "--no-cache", "--check", "src/domain", "src/services", "src/repositories/teams.py")
    plugins = ("-p", "anyio", "-p", "xdist.plugin", "-p", "hypothesispytest")
    report = run(copy, "pytest", "-q", "-k", "not postgres", *plugins, *JUDGED_BY)
    assert "skipped" not in report
    run(copy, "pytest", "-q", "-k", "team", *plugins, *OF_OPERATIONS)


def test_an_example_that_no_longer_matches_the_source_is_detected(copy: Path) -> None:
    work = copy / "src" / "domain" / "work.py"
    work.write_text(work.read_text().replace("def users(self) -> ReadUsers", "def people(self) -> ReadUsers"))

    with pytest.raises(AssertionError, match=r"domain/work\.py does not hold"):
        list(follow(PAGE.read_text(), copy))

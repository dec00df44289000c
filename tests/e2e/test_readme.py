"""The commands on the pages do what the pages say, and their links have targets."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import pytest
from httpx2 import AsyncClient
from typer.testing import CliRunner

from api.commands.main import app
from api.settings import Settings

if TYPE_CHECKING:
    from tests.e2e.conftest import Run

ROOT: Final = Path(__file__).parents[2]

SHELL: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXPECTED: Final = re.compile(r"# (?:→ )?(?P<status>\d{3})(?: (?P<body>.*))?")


class Call(NamedTuple):
    """A curl command and the answer in the comment after it."""

    command: str
    status: int
    body: str | None


def calls_in(page: str) -> Iterator[Call]:
    for block in SHELL.findall(page):
        lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("curl "):
                expected = EXPECTED.fullmatch(following)
                assert expected is not None, f"no answer stands after: {line}"
                yield Call(line, int(expected["status"]), expected["body"])


async def answer_to(http: AsyncClient, command: str, url: str) -> tuple[int, str]:
    """The answer that curl would get. Only the options on the pages are supported."""
    words = iter(shlex.split(command)[1:])
    method, target, headers, data, in_query = None, "", {}, [], False
    for word in words:
        match word:
            case "-s" | "-sS" | "--silent":
                pass
            case "-G" | "-sG" | "--get":
                in_query = True
            case "-X" | "--request":
                method = next(words)
            case "-H" | "--header":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            case "-d" | "--data" | "--json":
                data.append(next(words))
            case "--data-urlencode":
                name, _, value = next(words).partition("=")
                data.append(f"{name}={quote(value)}")
            case _ if word.startswith("-"):
                pytest.fail(f"not understood here: {word}")
            case _:
                target = word
    target = re.sub(r"^(http://)?(localhost|127\.0\.0\.1):8000", url, target)
    assert target.startswith(url), f"another host: {command}"
    if in_query:
        target, data = f"{target}?{'&'.join(data)}", []
    body = "&".join(data) or None
    answer = await http.request(method or ("POST" if body else "GET"), target, headers=headers, content=body)
    return answer.status_code, answer.text.removesuffix("\n")  # the end of a stream's line, which no comment shows


PAGES: Final = ("README.md", "docs/guide.md", "docs/keys.md")


@pytest.mark.parametrize("page", PAGES)
async def test_every_curl_of_a_page_gets_the_shown_answer(
    serve: "Run", http: AsyncClient, sqlite_url: str, page: str
) -> None:
    calls = list(calls_in((ROOT / page).read_text()))
    assert calls, "the page shows no call"
    url = await (await serve(sqlite_url)).url()

    for call in calls:
        command = call.command.replace(' -H "authorization: Bearer $KEY"', "")  # there is no key yet
        status, body = await answer_to(http, command, url)
        assert (status, body) == (call.status, call.body if call.body is not None else body), call.command


def test_no_other_page_shows_a_call_with_an_answer() -> None:
    others = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if "# →" in page.read_text()}
    assert others <= set(PAGES)


def test_the_readme_is_two_screens_long() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    assert len(text.split()) <= 1000


def test_every_link_between_pages_has_a_target() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
            found = page.parent / target if target else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor and found.suffix == ".md":
                heads = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
                assert anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_the_first_screen_begins_with_the_commands_to_run_roster() -> None:
    first, second = SHELL.findall((ROOT / "README.md").read_text())[:2]

    targets = re.findall(r"^make (\w+)", first, re.MULTILINE)
    assert targets[:2] == ["run", "test"]
    assert second.startswith("curl ")
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_page_of_settings_is_current() -> None:
    written = CliRunner().invoke(app, ["settings"]).stdout
    assert (ROOT / "docs/configuration.md").read_text() == written, "make docs"
    assert {name.lower() for name in re.findall(r"^\| `ROSTER_([A-Z_]+)`", written, re.MULTILINE)} == set(
        Settings.model_fields
    )


def test_every_setting_that_a_page_names_exists() -> None:
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"`ROSTER_([A-Z_]+?)(?:__[A-Z_]+)?[`=]", page.read_text()):
            assert name.startswith("TEST_") or name.lower() in Settings.model_fields, f"{page.name}: {name}"


SAMPLE = """\
```sh
make run
```
```sh
curl -s localhost:8000/users/ \\
  -d '{"name":"Alice"}'
# → 201 {"id":1}
curl -X DELETE 127.0.0.1:8000/users/1
# 204
```
```python
curl = "# 200"
```
"""


def test_calls_are_found_with_their_answers() -> None:
    assert list(calls_in(SAMPLE)) == [
        Call("""curl -s localhost:8000/users/    -d '{"name":"Alice"}'""", 201, '{"id":1}'),
        Call("curl -X DELETE 127.0.0.1:8000/users/1", 204, None),
    ]


@pytest.mark.parametrize("block", ["curl localhost:8000/\n", "curl localhost:8000/\ncurl localhost:8000/\n# 200\n"])
def test_a_call_without_its_answer_is_an_error(block: str) -> None:
    with pytest.raises(AssertionError, match="no answer stands after"):
        list(calls_in(f"```sh\n{block}```\n"))

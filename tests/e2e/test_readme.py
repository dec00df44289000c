"""The commands of the README do what it says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import pytest
from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Run

ROOT: Final = Path(__file__).parents[2]

SHELL: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXPECTED: Final = re.compile(r"# (?:→ )?(?P<status>\d{3})(?: (?P<body>.*))?")


class Call(NamedTuple):
    """A curl command and the answer that the comment after it promises."""

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
    """What curl would get: the options that it knows here are those that the page needs."""
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


async def test_every_curl_of_the_readme_gets_the_answer_that_stands_there(
    serve: "Run", http: AsyncClient, sqlite_url: str
) -> None:
    calls = list(calls_in((ROOT / "README.md").read_text()))
    assert calls, "the README shows no call"
    url = await (await serve(sqlite_url)).url()

    for call in calls:
        status, body = await answer_to(http, call.command, url)
        assert (status, body) == (call.status, call.body if call.body is not None else body), call.command


def test_the_first_screen_begins_with_what_makes_it_run() -> None:
    first, second = SHELL.findall((ROOT / "README.md").read_text())[:2]

    targets = re.findall(r"^make (\w+)", first, re.MULTILINE)
    assert targets[:2] == ["run", "test"]
    assert second.startswith("curl ")
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_setting_of_the_readme_is_one() -> None:
    from api.settings import Settings  # noqa: PLC0415

    named = set(re.findall(r"`ROSTER_([A-Z_]+)`", (ROOT / "README.md").read_text()))

    assert {name.lower() for name in named} - {"test_postgres_url"} == set(Settings.model_fields)


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

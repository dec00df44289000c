"""An import that is killed continues where it was: every row is stored exactly once."""

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


ROWS = 10_000
CONTENT = b"".join(b'{"name":"User %d"}\n' % number for number in range(ROWS))


@pytest.fixture
def people(tmp_path: Path) -> str:
    """The rows have no identifier, so only the import itself knows which ones it stored."""
    file = tmp_path / "people.ndjson"
    file.write_bytes(CONTENT)
    return str(file)


async def names_at(http: AsyncClient, url: str) -> Counter[str]:
    stream = await http.get(f"{url}/users/?fields=name", headers={"accept": "text/csv"})
    return Counter(stream.text.splitlines()[1:])


async def test_an_import_command_is_repeated_after_it_was_killed(
    run: "Run", serve: "Run", http: AsyncClient, database_url: str, people: str
) -> None:
    url = await (await serve(database_url)).url()
    killed: Roster = await run("import", people, "--json", database_url=database_url)
    await killed.line(lambda line: '"done":"created"' in line)
    killed.signal(signal.SIGKILL)
    assert await killed.ended() == -signal.SIGKILL
    stored = (await names_at(http, url)).total()
    assert 0 < stored < ROWS

    again: Roster = await run("import", people, database_url=database_url)
    assert await again.ended() == 0, again.errors
    assert "of them by an earlier run" in again.errors
    assert await names_at(http, url) == Counter(f"User {number}" for number in range(ROWS))


async def test_an_import_is_repeated_after_its_server_was_killed(
    serve: "Run", http: AsyncClient, database_url: str
) -> None:
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "nightly-1"}
    killed: Roster = await serve(database_url)
    async with http.stream("POST", f"{await killed.url()}/imports/", content=CONTENT, headers=headers) as answer:
        await anext(answer.aiter_lines())
        killed.signal(signal.SIGKILL)
    assert await killed.ended() == -signal.SIGKILL

    url = await (await serve(database_url)).url()
    assert 0 < (await names_at(http, url)).total() < ROWS
    answered = await http.post(f"{url}/imports/", content=CONTENT, headers=headers, timeout=120)
    assert f'"rows":{ROWS},"created":{ROWS}' in answered.text.splitlines()[-1]
    assert await names_at(http, url) == Counter(f"User {number}" for number in range(ROWS))

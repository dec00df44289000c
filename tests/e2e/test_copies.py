"""A directory moves from a file to PostgreSQL and back, with a kill on each way."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


PEOPLE: Final = 5_000
DYING: Final = str(Path(__file__).with_name("dying_copy.py"))


async def said_by(roster: "Roster", code: int = 0) -> list[str]:
    assert await roster.ended() == code, roster.errors
    return roster.said


async def moved(run: "Run", source: str, target: str) -> list[str]:
    """Copies with a kill before the fourth batch. Returns the lines of the comparison."""
    killed: Roster = await run("4", "copy", source, target, program=[DYING])
    assert await killed.ended() == -signal.SIGKILL
    unfinished: Roster = await run("users", "list", database_url=target)
    assert "Run roster copy again" in "".join(await said_by(unfinished, 2)) + unfinished.errors
    return await said_by(await run("copy", source, target))


async def test_a_directory_moves_to_postgres_and_back(
    run: "Run", serve: "Run", http: AsyncClient, bare_postgres_url: str, tmp_path: Path
) -> None:
    sqlite_url = f"sqlite:///{tmp_path / 'roster.db'}"
    people = tmp_path / "people.ndjson"
    people.write_text("".join(f'{{"name":"Üser {n}","external_id":"{n}"}}\n' for n in range(PEOPLE)), encoding="utf-8")
    await said_by(await run("db", "upgrade", database_url=sqlite_url))
    await said_by(await run("import", str(people), database_url=sqlite_url))
    first = await said_by(await run("export", database_url=sqlite_url))

    there = await moved(run, sqlite_url, bare_postgres_url)
    assert await said_by(await run("export", database_url=bare_postgres_url)) == first
    back_url = f"sqlite:///{tmp_path / 'back.db'}"
    back = await moved(run, bare_postgres_url, back_url)
    assert await said_by(await run("export", database_url=back_url)) == first
    assert back == there
    assert all(line.endswith("same") for line in back)

    url = await (await serve(bare_postgres_url)).url()
    created = await http.post(f"{url}/users/", json={"name": "Carol"})
    assert created.json()["id"] == int(created.headers["roster-seq"]) == PEOPLE + 1

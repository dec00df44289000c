"""The drill on PostgreSQL: back up, lose later writes, restore, with the commands that Roster names."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from httpx2 import AsyncClient
from tests.clusters import postgres_binaries

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


async def do(run: "Run", url: str, *arguments: str, code: int = 0) -> str:
    """The one line that a command prints."""
    roster: Roster = await run(*arguments, database_url=url)
    assert await roster.ended() == code, roster.errors
    return "".join(roster.said or roster.complained)


async def run_named_command(line: str) -> None:
    """The command that a message names."""
    command = line.partition("Run: ")[2].partition(" Then, ")[0]
    environment = {**os.environ, "PATH": f"{postgres_binaries()}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_shell(command, env=environment)
    async with asyncio.timeout(60):
        assert await process.wait() == 0, command


async def test_a_lost_database_is_restored_and_readers_of_the_feed_notice_it(
    run: "Run", serve: "Run", http: AsyncClient, bare_postgres_url: str, tmp_path: Path
) -> None:
    dump = str(tmp_path / "roster.dump")
    await do(run, bare_postgres_url, "db", "upgrade")
    server = await serve(bare_postgres_url)
    url = await server.url()
    for name in ("Alice", "Bob"):
        kept = await http.post(f"{url}/users/", json={"name": name})
    await run_named_command(await do(run, bare_postgres_url, "backup", dump, code=2))
    lost = await http.post(f"{url}/users/", json={"name": "Carol"})
    assert await server.stop() == 0

    line_of_restore = await do(run, bare_postgres_url, "restore", dump, "--yes", code=2)
    await run_named_command(line_of_restore)
    assert line_of_restore.endswith("roster db epoch")
    await do(run, bare_postgres_url, "db", "epoch")

    url = await (await serve(bare_postgres_url)).url()
    assert [user["name"] for user in (await http.get(f"{url}/users/")).json()] == ["Alice", "Bob"]
    dora = await http.post(f"{url}/users/", json={"name": "Dora"})
    assert dora.json()["id"] > lost.json()["id"]
    assert int(dora.headers["roster-seq"]) > int(lost.headers["roster-seq"])
    expired = await http.get(f"{url}/changes/?since={lost.headers['roster-seq']}")
    assert (expired.status_code, expired.json()["code"]) == (410, "position_expired")
    followed = await http.get(f"{url}/changes/?since={kept.headers['roster-seq']}")
    assert [change["entity_id"] for change in followed.json()] == [dora.json()["id"]]

"""openapi.json is kept: schemathesis finds nothing on either database."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest

import api.web.access
from api.container import Container
from domain.keys import NewKey, Scope
from domain.work import RequestContext

ROOT: Final = Path(__file__).parents[3]
DEADLINE_S: Final = 300
WITHOUT: Final = ("--exclude-operation-id", "revoke_key", "--exclude-operation-id", "rotate_key")
"""It would take its own key away from itself."""

PHASES: Final = ("examples", "fuzzing", "stateful")
ON_SQLITE_TOO: Final = "coverage"
"""At the bounds of each parameter and beyond them, which is judged before any database: once is enough."""

Serving = Callable[[Container], AbstractAsyncContextManager[Any]]


async def found_by_schemathesis(url: str, phases: Sequence[str], secret: str, folder: Path) -> tuple[int | None, str]:
    """Its exit code, 0 if it found nothing, and its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", ROOT / "schemathesis.toml",
        "run", ROOT / "openapi.json", "--url", url, "--phases", ",".join(phases), *WITHOUT,
        "--header", f"Authorization: Bearer {secret}",
        cwd=folder,  # where it remembers what it found
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        report, _ = await process.communicate()
    return process.returncode, report.decode()


async def key_for_everything(container: Container) -> str:
    """A secret that locks the door."""
    keys = container.keys(RequestContext(actor="tester", request_id="r1"))
    _, secret = (await keys.create(NewKey(name="schemathesis", scopes=tuple(Scope)))).result
    return secret


async def test_schemathesis_finds_nothing(
    database_url: str,
    container_at: Callable[[str], Container],
    served: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api.web.access, "MAX_FAILURES", 10**6)  # it tries wrong keys at every operation
    container = container_at(database_url)
    phases = (*PHASES, ON_SQLITE_TOO) if database_url.startswith("sqlite") else PHASES
    async with served(container) as server:
        container.units().release()  # whoever asks to wait for a change is answered at once
        secret = await key_for_everything(container)
        code, report = await found_by_schemathesis(server.url, phases, secret, tmp_path)

    assert code == 0, report
    assert "18 passed" in report, report

"""The public checker of SCIM servers, over HTTP with a key, on each database: every check succeeds, none is skipped."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest
from tests.api.conftest import Served

from api.container import Container
from domain.keys import NewKey, Scope
from domain.work import RequestContext

CHECKS: Final = 135
SCIM2: Final = str(Path(sys.executable).parent / "scim2")
OUTCOME: Final = re.compile(r"^(SUCCESS|COMPLIANT|ACCEPTABLE|DEVIATION|ERROR|CRITICAL|SKIPPED) ", re.MULTILINE)


@pytest.mark.heavy  # 135 checks, each of which makes its own users
async def test_the_public_checker_finds_nothing(
    database_url: str,
    container_at: Callable[[str], Container],
    served: Callable[[Container], AbstractAsyncContextManager[Served]],
) -> None:
    container = container_at(database_url)
    async with served(container) as server:
        keys = container.keys(RequestContext(actor="tester", request_id="-"))
        _, secret = (await keys.create(NewKey(name="checker", scopes=(Scope.SCIM,)))).result
        checker = await asyncio.create_subprocess_exec(
            SCIM2, "--url", f"{server.url}/scim/v2", "test", "-v",
            env={**os.environ, "SCIM_CLI_HEADERS": f"Authorization: Bearer {secret}", "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            told, _ = await checker.communicate()
    text = told.decode()
    outcomes = OUTCOME.findall(text)
    assert (checker.returncode, set(outcomes), len(outcomes)) == (0, {"SUCCESS"}, CHECKS), text

"""The process that sends to webhooks ends with its server, even when the server is killed."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from httpx2 import AsyncClient
from tests.api.delivery.conftest import Receiver, receiving

if TYPE_CHECKING:
    from tests.e2e.conftest import Run


def children_of(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    if not file.exists():
        pytest.skip("only Linux shows the children of a process")
    return [int(child) for child in file.read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_sending_process_ends_with_the_server(
    serve: "Run", http: AsyncClient, sqlite_url: str, number: signal.Signals
) -> None:
    receiver = Receiver()
    async with receiving(receiver.handle) as port:
        receiver.port = port
        roster = await serve(sqlite_url, webhooks_allow_private="true")
        url = await roster.url()
        assert children_of(roster.process.pid) == []
        assert (await http.post(f"{url}/webhooks/", json={"url": receiver.url})).status_code == 201
        assert (await http.post(f"{url}/webhooks/1/test")).status_code == 200
        (child,) = children_of(roster.process.pid)
        os.kill(roster.process.pid, number)
        await roster.ended()
        async with asyncio.timeout(60):
            while is_running(child):  # noqa: ASYNC110  # it is no child of this process
                await asyncio.sleep(0.02)

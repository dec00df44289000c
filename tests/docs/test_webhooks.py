"""The receiver of docs/webhooks.md runs as shown: it verifies messages, and handles none twice."""

import asyncio
import re
import socket
import sys
from pathlib import Path
from typing import Final

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings
from repositories.fake import MemoryUnitsOfWork

PAGE: Final = Path(__file__).parents[2] / "docs" / "webhooks.md"
DEADLINE_S: Final = 60
LINES: Final = 10
"""How many lines of the receiver are not blank."""


async def receiver_of(folder: Path, secret: str, port: int) -> asyncio.subprocess.Process:
    code = re.search(r"^`receiver\.py`:\n\n```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= LINES
    (folder / "receiver.py").write_text(code[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "receiver.py", secret, str(port),
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return process


async def next_line(process: asyncio.subprocess.Process) -> bytes:
    """The next line that the receiver prints, without the log of its requests."""
    assert process.stdout is not None
    while (line := await process.stdout.readline()).startswith(b"INFO:"):
        pass
    return line


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.heavy  # starts the receiver as a process of its own
async def test_the_receiver_of_the_page_verifies_and_is_idempotent(tmp_path: Path) -> None:
    port = free_port()
    container = Container(
        settings=providers.Object(Settings(webhooks_allow_private=True)), units=providers.Object(MemoryUnitsOfWork())
    )
    app = create_app(container, open_locally=True, delivers=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
        asyncio.timeout(DEADLINE_S),
    ):
        hook = {"url": f"http://127.0.0.1:{port}/", "filter": 'kind eq "user"'}
        secret = (await client.post("/webhooks/", json=hook)).json()["secret"]
        process = await receiver_of(tmp_path, secret, port)
        try:
            await client.post("/users/", json={"name": "Alice"})
            assert await next_line(process) == b"user.created 1\n"
            while not (await client.get("/webhooks/1/deliveries/")).json():  # noqa: ASYNC110  # another task delivers
                await asyncio.sleep(0.02)
            assert (await client.post("/webhooks/1/test")).json()["status"] == 204
            assert await next_line(process) == b"webhook.test None\n"
            await client.post("/webhooks/1/deliveries/2/retry")
            while (await client.get("/webhooks/1/deliveries/")).json()[0]["state"] != "delivered":  # noqa: ASYNC110
                await asyncio.sleep(0.02)

            async with AsyncClient() as stranger:
                forged = {"webhook-id": "msg_9", "webhook-timestamp": "1795954721", "webhook-signature": "v1,AAAA"}
                refused = await stranger.post(hook["url"], content=b"{}", headers=forged)
                assert refused.status_code == 500
            await client.post("/users/", json={"name": "Bob"})
            assert await next_line(process) == b"user.created 2\n"  # and nothing between the two
        finally:
            process.kill()
            await process.wait()

"""What the server and the process that sends tell each other, in frames: the length in four bytes, a list in JSON."""

import json
from asyncio import StreamReader
from typing import Any, Final

ALLOW_PRIVATE: Final = "--allow-private"
"""The option of that process: private addresses and http are allowed."""

LENGTH_BYTES: Final = 4
ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def frame(*content: Any) -> bytes:
    encoded = ENCODER.encode(content).encode()
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


async def read_frame(reader: StreamReader) -> list[Any]:
    """Raises `IncompleteReadError` at the end."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    content: list[Any] = json.loads(await reader.readexactly(length))
    return content

"""Frames, in which the server and the sending process exchange messages: a length in four bytes, then a JSON list."""

import json
from asyncio import StreamReader
from typing import Any, Final

ALLOW_PRIVATE: Final = "--allow-private"
"""The option of the sending process that allows private addresses and http."""

LENGTH_BYTES: Final = 4
ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def frame(*content: Any) -> bytes:
    encoded = ENCODER.encode(content).encode()
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


async def read_frame(reader: StreamReader) -> list[Any]:
    """Read the next frame. Raises `IncompleteReadError` at the end of the input."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    content: list[Any] = json.loads(await reader.readexactly(length))
    return content

"""Frames, in which the server and the sending process exchange messages: a length in four bytes, then a JSON list."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json, to_json

ALLOW_PRIVATE: Final = "--allow-private"
"""The option of the sending process that allows private addresses and http."""

LENGTH_BYTES: Final = 4

GATHER_S: Final = 0.001
"""How long frames wait for others. Each write wakes up the other process, which costs more than a frame."""


def frame(*content: Any) -> bytes:
    encoded = to_json(content)
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


class Frames:
    """Puts frames together from the pieces in which a pipe delivers them."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, piece: bytes) -> Iterator[list[Any]]:
        """The contents of all frames that this piece completes."""
        data, begin = self._rest + piece, 0
        while (start := begin + LENGTH_BYTES) <= len(data):
            end = start + int.from_bytes(data[begin:start], "big")
            if end > len(data):
                break
            yield from_json(data[start:end])
            begin = end
        self._rest = data[begin:]


class Writer:
    """Writes frames to a pipe, several at a time."""

    def __init__(self, pipe: asyncio.WriteTransport) -> None:
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []

    def put(self, *content: Any) -> None:
        if not self._frames:
            self._loop.call_later(GATHER_S, self._write)
        self._frames.append(frame(*content))

    def _write(self) -> None:
        frames, self._frames = self._frames, []
        if not self._pipe.is_closing():
            self._pipe.write(b"".join(frames))

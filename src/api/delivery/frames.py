"""Frames, in which the server and the sending process exchange messages: a length in four bytes, then a JSON list."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json, to_json

ALLOW_PRIVATE: Final = "--allow-private"
"""The option of the sending process that allows private addresses and http."""

LENGTH_BYTES: Final = 4


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

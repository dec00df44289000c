"""Frames are read from a pipe as they were written, however the pipe splits them."""

import asyncio
from typing import Any

import pytest

from api.delivery import frames
from api.delivery.frames import Frames, Writer, frame

CONTENTS: list[list[Any]] = [
    [1, "https://example.org/", {"webhook-id": "msg_1"}, '{"name":"Zoë"}'],
    [2],
    [3, None, "\x00\ud7ff"],
]
STREAM = b"".join(frame(*content) for content in CONTENTS)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, len(STREAM)])
def test_frames_are_the_same_in_pieces_of_any_size(size: int) -> None:
    incoming = Frames()
    pieces = [STREAM[begin : begin + size] for begin in range(0, len(STREAM), size)]
    assert [content for piece in pieces for content in incoming.take(piece)] == CONTENTS


def test_an_unfinished_frame_waits_for_its_rest() -> None:
    incoming = Frames()
    assert list(incoming.take(STREAM[:-1])) == CONTENTS[:-1]
    assert list(incoming.take(STREAM[-1:])) == CONTENTS[-1:]


class Pipe(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.written = asyncio.Event()
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(data)
        self.written.set()

    def is_closing(self) -> bool:
        return self.is_closed


async def test_frames_of_one_moment_are_written_together() -> None:
    pipe = Pipe()
    writer = Writer(pipe)
    for content in CONTENTS:
        writer.put(*content)
    assert pipe.writes == []
    await pipe.written.wait()
    assert pipe.writes == [STREAM]
    pipe.written.clear()
    writer.put(4)
    await pipe.written.wait()
    assert pipe.writes == [STREAM, frame(4)]


async def test_nothing_is_written_to_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "GATHER_S", 0)
    pipe = Pipe()
    Writer(pipe).put(1)
    pipe.is_closed = True
    await asyncio.sleep(0.01)
    assert pipe.writes == []

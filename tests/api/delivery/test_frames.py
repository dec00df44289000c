"""Frames come out of a pipe as they were put in, however the pipe cuts them."""

from typing import Any

import pytest

from api.delivery.frames import Frames, frame

CONTENTS: list[list[Any]] = [
    [1, "https://example.org/", {"webhook-id": "msg_1"}, '{"name":"Zoë"}'],
    [2],
    [3, None, "\x00\ud7ff"],
]
STREAM = b"".join(frame(*content) for content in CONTENTS)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, len(STREAM)])
def test_frames_are_the_same_in_pieces_of_any_size(size: int) -> None:
    frames = Frames()
    pieces = [STREAM[begin : begin + size] for begin in range(0, len(STREAM), size)]
    assert [content for piece in pieces for content in frames.take(piece)] == CONTENTS


def test_an_unfinished_frame_waits_for_its_rest() -> None:
    frames = Frames()
    assert list(frames.take(STREAM[:-1])) == CONTENTS[:-1]
    assert list(frames.take(STREAM[-1:])) == CONTENTS[-1:]

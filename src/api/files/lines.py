"""A file as lines of text."""

from collections.abc import Iterator
from itertools import count
from typing import BinaryIO, Final

from domain.errors import Malformed

MAX_LINE: Final = 1024 * 1024
UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class Lines:
    """The lines of a file in UTF-8, with or without a byte order mark. `position` is the number of bytes that were
    read.

    Raises `Malformed` at a line in another encoding, and at a line of more than `MAX_LINE` bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        self.position = 0
        for number in count(1):
            line = self._file.readline(MAX_LINE + 1)
            if not line:
                return
            if len(line) > MAX_LINE:
                raise Malformed(f"Line {number} has more than {MAX_LINE} bytes.")
            self.position += len(line)
            yield text_of(line, number)


def text_of(line: bytes, number: int) -> str:
    if number == 1 and (line.startswith(UTF_16) or b"\0" in line):
        raise Malformed("The file is UTF-16. Save it as UTF-8: spreadsheets call that CSV UTF-8.")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Malformed(
            f"Line {number} is not UTF-8, from its byte {error.start + 1}. The file may be Windows-1252 or Latin-1. "
            "Save it as UTF-8: spreadsheets call that CSV UTF-8."
        ) from error
    return text.removeprefix("\ufeff") if number == 1 else text

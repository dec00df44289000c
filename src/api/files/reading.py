"""Reading files as rows of an import."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import BinaryIO, Final, Protocol

from api.files.lines import Lines
from api.files.objects import Objects
from api.files.tables import Table
from domain.imports import Row


class Format(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"


BY_SUFFIX: Final[Mapping[str, Format]] = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
}


class Rows(Protocol):
    """The rows of a file. Each iteration begins at its start. `position` is the number of bytes that were read."""

    @property
    def position(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...


def rows_in(file: BinaryIO, format: Format | None, columns: Iterable[tuple[str, str]] = ()) -> Rows:
    """The rows of a file. Without a format, the first character of the file decides.

    `columns` are pairs of a column's name and its field. An empty field leaves the column out. Raises `Malformed` if
    the file is in another encoding, or if its CSV is broken. The whole file is checked before any row is used.
    """
    lines = Lines(file)
    rows: Rows = Table(lines, columns) if (format or format_of(file)) is Format.CSV else Objects(lines)
    for _ in rows if isinstance(rows, Table) else lines:
        pass
    return rows


def format_of(file: BinaryIO) -> Format:
    file.seek(0)
    return Format.NDJSON if file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else Format.CSV

"""Writing newline-delimited JSON, and CSV in which a spreadsheet runs no formulas."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json

Body = Mapping[str, Any]

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""Characters that a spreadsheet treats as the start of a formula (OWASP, CSV injection)."""


def write_ndjson(items: Iterable[Body], _: Sequence[str]) -> bytes:
    return b"".join(to_json(item) + b"\n" for item in items)


def write_csv(items: Iterable[Body], columns: Sequence[str], *, escapes: bool = True) -> bytes:
    return csv_lines([cell(item.get(column), escapes=escapes) for column in columns] for item in items)


def csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Lines of CSV as in RFC 4180: they end in CRLF, and have quotes only where they are needed."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def cell(value: object, *, escapes: bool = True) -> str:
    """A value as a cell: None is empty, and attributes are JSON. A value that a spreadsheet would run gets an
    apostrophe before it.

    A value that already has apostrophes before a formula gets one more, so that `unescaped` can restore every value.
    """
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str():
            return f"'{value}" if escapes and would_run(value) else str(value)
        case int():
            return str(value)
        case _:
            return to_json(value).decode()


def would_run(value: str) -> bool:
    return value.lstrip("'").startswith(FORMULA_STARTS)


def unescaped(text: str) -> str:
    """Undo the apostrophe of `cell`. For programs that read such a CSV."""
    return text[1:] if text.startswith("'") and would_run(text) else text

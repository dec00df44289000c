"""Newline-delimited JSON: an object on each line."""

from collections.abc import Iterator
from typing import Final

from api.files.lines import Lines
from api.strict_json import MAX_DEPTH, OddJsonError, no_deeper, read_json
from domain.errors import Fault
from domain.imports import Row

NOT_JSON: Final = Fault("", "not_json", "Is not a JSON object.")
ODD: Final = Fault(
    "", "not_json", "Is JSON that programs read differently: it has a name twice, NaN, or a number that is too large."
)


class Objects:
    """The rows of the lines, without empty lines. A line that is not an object is a row with a fault."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @property
    def position(self) -> int:
        return self._lines.position

    def __iter__(self) -> Iterator[Row]:
        return (row_of(number, line) for number, line in enumerate(self._lines, 1) if not line.isspace())


def row_of(number: int, line: str) -> Row:
    try:
        found = read_json(line)
        if line.count("[") + line.count("{") > MAX_DEPTH:
            no_deeper(found)
    except OddJsonError:
        return Row(number, {}, [ODD])
    except (ValueError, RecursionError):
        return Row(number, {}, [NOT_JSON])
    return Row(number, found) if isinstance(found, dict) else Row(number, {}, [NOT_JSON])

"""CSV as spreadsheets write it: with commas, semicolons or tabs, with quotes, and with a first row that names the
columns."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from api.files.lines import Lines
from api.files.objects import NOT_JSON
from api.files.writing import unescaped
from api.strict_json import no_deeper, read_json
from domain.entities import profile_of
from domain.errors import Fault, Malformed
from domain.groups import NewGroup
from domain.imports import Kind, Row
from domain.users import NewUser

FIELDS_OF: Final[Mapping[str, frozenset[str]]] = {
    Kind.USER: frozenset(profile_of(NewUser)) | {"groups"},
    Kind.GROUP: frozenset(profile_of(NewGroup)),
    Kind.NESTING: frozenset({"group", "child"}),
    Kind.MEMBERSHIP: frozenset({"user", "group", "role"}),
}
KNOWN: Final = frozenset({"kind"}).union(*FIELDS_OF.values())
JSON_FIELDS: Final = frozenset({"attributes", "scim", "groups"})
ATTRIBUTE: Final = "attributes."
DELIMITERS: Final = ",;\t"
SEPARATOR: Final = "|"


class Column(NamedTuple):
    """The field of a column, with the path to a member if the field is an object."""

    field: str
    path: Sequence[str] = ()


class Table:
    """The rows of a table. An empty cell clears the field of its column.

    Raises `Malformed` if the first row has unknown names, or if a quote is not closed.
    """

    def __init__(self, lines: Lines, columns: Iterable[tuple[str, str]]) -> None:
        self._lines = lines
        self._named = dict(columns)

    @property
    def position(self) -> int:
        return self._lines.position

    def __iter__(self) -> Iterator[Row]:
        lines = iter(self._lines)
        head = next(lines, "")
        cells = csv.reader(chain([head], lines), delimiter=delimiter_of(head), strict=True)
        columns: Sequence[Column | None] | None = None
        line = 1
        try:
            for row in cells:
                if any(row):
                    if columns is None:
                        columns = columns_of(row, self._named)
                    else:
                        yield row_of(line, row, columns)
                line = cells.line_num + 1
        except csv.Error as error:
            raise Malformed(f"The row from line {line} on cannot be read: {error}.") from error
        if columns is None:
            raise Malformed("The file has no first row that names its columns.")


def delimiter_of(head: str) -> str:
    """The delimiter that is most frequent in the first row, outside of quotes."""
    plain = "".join(head.split('"')[::2])
    return max(DELIMITERS, key=plain.count)


def columns_of(head: Sequence[str], named: Mapping[str, str]) -> Sequence[Column | None]:
    """The columns; None for those that are left out. Raises `Malformed`, with the numbers of wrong columns and not
    their names.

    If the first row is missing, these names are somebody's data.
    """
    if not named.keys() <= {each.strip() for each in head}:
        raise Malformed("A column that was mapped to a field is not in the first row of the file.")
    fields = [field_of(name.strip(), named) for name in head]
    if unknown := [str(number) for number, field in enumerate(fields, 1) if field and not is_known(field)]:
        raise Malformed(
            f"The first row has an unknown field in column {', '.join(unknown)}. Map it to a field, as in "
            "E-Mail=email or Floor=attributes.floor, or to nothing to leave it out, as in Notes=."
        )
    taken = [field for field in fields if field]
    if twice := sorted({field for field in taken if taken.count(field) > 1}):
        raise Malformed(f"More than one column has the field {', '.join(twice)}.")
    if any(one.startswith(f"{other}.") for one in taken for other in taken):
        raise Malformed("There is a column for an object as a whole, and one for a member of it.")
    return [column_of(field) for field in fields]


def field_of(name: str, named: Mapping[str, str]) -> str:
    if name in named:
        return named[name]
    if name.lower().startswith(ATTRIBUTE):
        return ATTRIBUTE + name[len(ATTRIBUTE) :]
    plain = name.lower().replace(" ", "_").replace("-", "_")
    return plain if plain in KNOWN else name


def is_known(field: str) -> bool:
    return field in KNOWN or (field.startswith(ATTRIBUTE) and all(field.split(".")))


def column_of(field: str) -> Column | None:
    if not field:
        return None
    name, *path = field.split(".")
    return Column(name, path)


def row_of(line: int, cells: Sequence[str], columns: Sequence[Column | None]) -> Row:
    if len(cells) != len(columns):
        return Row(
            line, {}, [Fault("", "wrong_length", f"Has {len(cells)} cells, and the first row has {len(columns)}.")]
        )
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for cell, column in zip(cells, columns, strict=True):
        if column is None:
            continue
        try:
            value = value_of(cell, column)
        except ValueError:
            faults.append(Fault(f"/{column.field}", NOT_JSON.code, "Is not JSON."))
        else:
            put(values, column, value)
    if faults:
        return Row(line, {}, faults)
    return Row(line, of_its_kind(values), is_patch=any(column and column.path for column in columns))


def value_of(cell: str, column: Column) -> Any:
    """The value of a cell. Raises `ValueError` if it should be JSON and is not."""
    if not cell:
        return None
    if column.field not in JSON_FIELDS or column.path:
        return unescaped(cell)
    if column.field == "groups" and not cell.startswith("["):
        return [unescaped(name.strip()) for name in cell.split(SEPARATOR)]
    return no_deeper(read_json(cell))


def put(values: dict[str, Any], column: Column, value: Any) -> None:
    names = (column.field, *column.path)
    inner = values
    for name in names[:-1]:
        inner = inner.setdefault(name, {})
    inner[names[-1]] = value


def of_its_kind(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a row without empty cells in columns of other kinds."""
    if values.get("kind", "") is None:
        del values["kind"]
    its = FIELDS_OF.get(values.get("kind", Kind.USER), KNOWN)
    return {name: value for name, value in values.items() if value is not None or name in its}

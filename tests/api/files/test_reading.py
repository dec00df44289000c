"""Files as rows: what spreadsheets and programs write, and the messages about files that cannot be read."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.files.lines import MAX_LINE
from api.files.reading import Format, rows_in
from api.files.writing import csv_lines, write_csv
from domain.errors import Malformed
from domain.imports import Row


def read(content: bytes, format: Format | None = None, columns: Iterable[tuple[str, str]] = ()) -> list[Row]:
    return list(rows_in(io.BytesIO(content), format, columns))


def values(content: bytes, **options: Any) -> list[Any]:
    return [row.values for row in read(content, **options)]


def faults(row: Row) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in row.faults]


class TestObjects:
    def test_each_line_is_an_object_and_empty_lines_are_skipped(self) -> None:
        rows = read(b'{"name":"Alice"}\n\n  \n{"name":"B\xc3\xbc"}\r\n{"name":"last"}')
        assert [(row.line, row.values) for row in rows] == [
            (1, {"name": "Alice"}),
            (4, {"name": "Bü"}),
            (5, {"name": "last"}),
        ]

    @pytest.mark.parametrize(
        "line",
        [b"{", b"[]", b"3", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}",
         b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' + b"[" * 65 + b"]" * 65 + b"}"],
    )  # fmt: skip
    def test_a_line_that_is_not_a_strict_json_object_is_a_row_with_a_fault(self, line: bytes) -> None:
        bad, good = read(line + b'\n{"name":"Alice"}\n', Format.NDJSON)
        assert (bad.values, faults(bad)) == ({}, [("", "not_json")])
        assert good.values == {"name": "Alice"}

    def test_the_rows_can_be_read_again(self) -> None:
        rows = rows_in(io.BytesIO(b'{"name":"Alice"}\n'), None)
        assert list(rows) == list(rows)
        assert rows.position == len(b'{"name":"Alice"}\n')


class TestTables:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_files_of_spreadsheets_are_read(self, separator: str, mark: str, end: str) -> None:
        text = (
            f'{mark}Name{separator}"External ID"{separator}status{end}"A ""B""{end}C, D; E"{separator}x{separator}{end}'
        )
        assert values(text.encode()) == [{"name": f'A "B"{end}C, D; E', "external_id": "x", "status": None}]

    def test_attributes_may_have_columns_of_their_own(self) -> None:
        found = values(b"name,attributes.floor,attributes.address.city\nAlice,3,\n")
        assert found == [{"name": "Alice", "attributes": {"floor": "3", "address": {"city": None}}}]

    def test_columns_can_be_mapped_to_fields_or_left_out(self) -> None:
        columns = [("E-Mail", "email"), ("Floor", "attributes.floor"), ("Notes", "")]
        found = values(b"name,E-Mail,Floor,Notes,\nAlice,a@x.org,3,x,y\n", columns=columns)
        assert found == [{"name": "Alice", "email": "a@x.org", "attributes": {"floor": "3"}}]

    def test_the_column_groups_has_names_or_json(self) -> None:
        found = values(b'name;groups\nA;Engineers | Staff\nB;"[""X"",{""name"":""Y"",""role"":""lead""}]"\nC;\n')
        assert [each["groups"] for each in found] == [
            ["Engineers", "Staff"],
            ["X", {"name": "Y", "role": "lead"}],
            None,
        ]

    def test_empty_cells_of_columns_of_other_kinds_are_ignored(self) -> None:
        found = values(b"kind,name,email,group,child\ngroup,Staff,,,\nnesting,,,Staff,Engineers\n,Alice,,,\n")
        assert found == [
            {"kind": "group", "name": "Staff"},
            {"kind": "nesting", "group": "Staff", "child": "Engineers"},
            {"name": "Alice", "email": None},
        ]

    def test_lines_are_counted_as_in_an_editor_and_empty_rows_are_skipped(self) -> None:
        rows = read(b'name,email\n"A\nB",a\n,\n\nC,c\nD\nE,e,e\n')
        assert [(row.line, faults(row)) for row in rows] == [
            (2, []),
            (6, []),
            (7, [("", "wrong_length")]),
            (8, [("", "wrong_length")]),
        ]

    def test_a_cell_with_invalid_json_is_reported(self) -> None:
        (row,) = read(b"name,attributes,scim\nAlice,{,[\n")
        assert faults(row) == [("/attributes", "not_json"), ("/scim", "not_json")]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"name,secret\nA,B\n", "column 2"),
            (b"name,Name\nA,B\n", "field name"),
            (b"attributes,attributes.x\n,\n", "as a whole"),
            (b"attributes.x,attributes.x.y\n,\n", "as a whole"),
            (b'name\n"secret\nsecret\n', "from line 2 on"),
            (b'name\n"sec"ret\n', "from line 2 on"),
            (b"", "no first row"),
            (b"\n\n", "no first row"),
        ],
    )
    def test_a_broken_table_is_refused_whole_and_the_message_repeats_no_value(self, content: bytes, said: str) -> None:
        with pytest.raises(Malformed, match=said) as refused:
            rows_in(io.BytesIO(content), Format.CSV)
        assert "secret" not in refused.value.detail

    def test_a_field_for_a_missing_column_is_refused(self) -> None:
        with pytest.raises(Malformed, match="not in the first row"):
            rows_in(io.BytesIO(b"name\nA\n"), Format.CSV, [("E-Mail", "email")])

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
    def test_every_written_text_is_read_back(self, texts: list[str]) -> None:
        content = csv_lines([["name"]]) + write_csv([{"name": text} for text in texts], ["name"])
        if csv.field_size_limit() > max(map(len, texts)):
            assert [each["name"] for each in values(content, format=Format.CSV)] == texts


@pytest.mark.parametrize("format", Format)
class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252", "shift-jis"])
    def test_another_encoding_is_refused_before_any_row_is_used(self, format: Format, encoding: str) -> None:
        text = "name\nAlice\nMüller 山\n" if format is Format.CSV else '{"name":"Alice"}\n{"name":"Müller 山"}\n'
        with pytest.raises(Malformed, match=r"UTF-16|is not UTF-8|cannot be read|no such field"):
            rows_in(io.BytesIO(text.encode(encoding, errors="replace")), format)

    def test_the_message_has_the_position_and_what_to_do(self, format: Format) -> None:
        with pytest.raises(Malformed, match=r"Line 2 is not UTF-8, from its byte 2\..*Save it as UTF-8"):
            rows_in(io.BytesIO(b"name\nM\xfcller\n"), format)

    def test_the_length_of_a_line_is_bounded(self, format: Format) -> None:
        with pytest.raises(Malformed, match=f"Line 2 has more than {MAX_LINE} bytes"):
            rows_in(io.BytesIO(b"name\n" + b"x" * (MAX_LINE + 1)), format)


@pytest.mark.parametrize(("content", "name"), [(b' {"name":"A"}', "A"), (b"\xef\xbb\xbf{}", None), (b"name\nB", "B")])
def test_the_format_is_detected_from_the_beginning(content: bytes, name: str | None) -> None:
    assert [row.values.get("name") for row in read(content)] == [name]

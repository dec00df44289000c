"""An export that is imported into an empty directory is exported as the same bytes, on every store."""

import io
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import empty, started
from tests.generated import examples

from api.commands.exports import COLUMNS
from api.files.reading import Format, rows_in
from api.files.writing import csv_lines, write_csv, write_ndjson
from domain.imports import Options, Row
from domain.lists.pages import MAX_LIMIT
from domain.values import JsonObject
from domain.work import RequestContext, UnitsOfWork
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork
from services.exports import ExportService
from services.groups import GroupService
from services.imports.runs import Import
from services.imports.service import ImportService
from services.users import UserService

CONTEXT = RequestContext(actor="tester", request_id="r1")
HOSTILE = [
    "=1+1", "'=1+1", "''", "'", "\t=x", "+49", "@x", '"', '","', "a\r\nb", "\r", "\n=", "|", "[]", "{}", "null", "ß",
    "ﬁ", "İ", "\u2028", "\ufeff", "\x7f", "\x01", "😀", " x ", ";", "#", "\\", "\\n", "＝x", "0", "true",  # noqa: RUF001
]  # fmt: skip
WRITABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(WRITABLE, min_size=1, max_size=5))
MAYBE = st.none() | TEXT
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)
GROUPS = st.fixed_dictionaries(
    {"kind": st.just("group"), "name": TEXT, "external_id": MAYBE, "description": MAYBE, "attributes": OBJECTS}
)
USERS = st.fixed_dictionaries(
    {
        "name": TEXT,
        "email": MAYBE,
        "username": MAYBE,
        "external_id": MAYBE,
        "status": st.sampled_from(["active", "suspended"]),
        "attributes": OBJECTS,
        "scim": st.none() | OBJECTS,
    }
)
PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), MAYBE), max_size=4)


async def directory(
    units: UnitsOfWork, groups: list[JsonObject], users: list[JsonObject], places: list[tuple[int, int, str | None]]
) -> None:
    """Creates these people and groups if they break no rule, and deletes the last ones."""
    await take(units, [Row(line, each) for line, each in enumerate([*groups, *users], 1)])
    async with units.writing(CONTEXT) as work:
        kept = await work.groups.list(limit=9)
        await work.commit(None)
    names = [each.name for each in kept]
    nested: list[JsonObject] = [
        {"kind": "nesting", "group": names[a], "child": names[b]} for a, b, _ in places if a < b < len(names)
    ]
    members: list[JsonObject] = [
        {"name": f"Member {n}", "groups": [names[a], {"name": names[b], "role": role}]}
        for n, (a, b, role) in enumerate(places)
        if a < len(names) and b < len(names) and a != b
    ]
    await take(units, [Row(line, each) for line, each in enumerate([*nested, *members], 1)])
    people = (await UserService(units, CONTEXT).list(limit=MAX_LIMIT)).items
    if len(people) > 1:
        await UserService(units, CONTEXT).delete(people[-1].id)
    if len(kept) > 1:
        await GroupService(units, CONTEXT).delete(kept[-1].id)


async def take(units: UnitsOfWork, rows: Any) -> int:
    one = Import(ImportService(units, CONTEXT), rows, Options())
    async for _ in one.steps():
        pass
    return one.counts.rejected


async def exported(units: UnitsOfWork, format: Format) -> bytes:
    rows = [row async for some in ExportService(units, CONTEXT).everything() for row in some]
    return csv_lines([COLUMNS]) + write_csv(rows, COLUMNS) if format is Format.CSV else write_ndjson(rows, COLUMNS)


Fresh = Callable[[], AbstractAsyncContextManager[UnitsOfWork]]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Fresh:
    """Gives an empty directory, again and again."""

    numbers = count()

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[UnitsOfWork]:
        yield MemoryUnitsOfWork()

    @asynccontextmanager
    async def on_sqlite() -> AsyncIterator[UnitsOfWork]:
        file = tmp_path / f"{next(numbers)}.db"
        shutil.copy(empty_file, file)
        async with started(f"sqlite:///{file}") as database:
            yield SqlUnitsOfWork(database)

    @asynccontextmanager
    async def on_postgres() -> AsyncIterator[UnitsOfWork]:
        await empty(url)
        yield SqlUnitsOfWork(database)

    if request.param == "sqlite":
        empty_file = request.getfixturevalue("empty_sqlite_file")
    if request.param == "postgres":
        url, database = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres")
    return {"memory": in_memory, "sqlite": on_sqlite, "postgres": on_postgres}[request.param]


@given(
    groups=st.lists(GROUPS, min_size=2, max_size=4),
    users=st.lists(USERS, min_size=2, max_size=4),
    places=PLACES,
    format=st.sampled_from(Format),
)
@examples(8)
async def test_an_export_that_is_imported_is_exported_as_the_same_bytes(
    fresh: Fresh,
    groups: list[JsonObject],
    users: list[JsonObject],
    places: list[tuple[int, int, str | None]],
    format: Format,
) -> None:
    async with fresh() as units:
        await directory(units, groups, users, places)
        content = await exported(units, format)
    async with fresh() as units:
        assert await take(units, rows_in(io.BytesIO(content), format)) == 0
        assert await exported(units, format) == content


async def test_the_export_has_every_user_and_every_group(fresh: Fresh) -> None:
    """So the comparison above does not compare empty exports."""
    async with fresh() as units:
        await directory(
            units,
            [{"kind": "group", "name": name} for name in "ABCD"],
            [{"name": "=1+1"}, {"name": "Alice", "attributes": {"n": None, "x": 1.0}}],
            [(0, 1, None), (1, 2, "lead"), (0, 2, None)],
        )
        assert (await exported(units, Format.NDJSON)).decode().splitlines() == [
            '{"kind":"group","name":"A"}',
            '{"kind":"group","name":"B"}',
            '{"kind":"group","name":"C"}',
            '{"kind":"nesting","group":"A","child":"B"}',
            '{"kind":"nesting","group":"B","child":"C"}',
            '{"kind":"nesting","group":"A","child":"C"}',
            '{"name":"=1+1"}',
            '{"name":"Alice","attributes":{"n":null,"x":1.0}}',
            '{"name":"Member 0","groups":["A","B"]}',
            '{"name":"Member 1","groups":["B",{"name":"C","role":"lead"}]}',
        ]

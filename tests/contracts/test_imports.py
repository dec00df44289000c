"""Imports on every store: the same rows have the same results."""

import pytest

from domain.imports import Done, FileKey, Mode, Options, Row
from domain.lists.pages import MAX_LIMIT
from domain.values import JsonObject
from domain.work import RequestContext, UnitsOfWork
from services.imports import runs
from services.imports.service import ImportService

ROWS: list[JsonObject] = [
    {"kind": "group", "name": "Engineers", "external_id": "e"},
    {"kind": "group", "name": "engineers"},
    {"kind": "group", "name": "Staff"},
    {"kind": "nesting", "group": "staff", "child": "Engineers"},
    {"kind": "nesting", "group": "Engineers", "child": "Staff"},
    {"name": "Alice", "external_id": "a", "email": "alice@x.org", "groups": [{"name": "Engineers", "role": "lead"}]},
    {"name": "Al", "email": "ALICE@x.org"},
    {"name": "Bob", "external_id": "b", "attributes": {"n": 1.0, "deep": [None, {"ü": "\u2028"}]}},
    {"name": "\x00"},
    {"kind": "membership", "user": "b", "group": "STAFF"},
    {"kind": "membership", "user": "nobody", "group": "Staff"},
    {"name": "=1+1", "username": "Straße", "status": "suspended", "groups": []},
]
ENDS = [
    "created", "rejected", "created", "created", "rejected", "created", "rejected", "created", "rejected", "created",
    "rejected", "created",
]  # fmt: skip


def service(units: UnitsOfWork) -> ImportService:
    return ImportService(units, RequestContext(actor="importer", request_id="r1"))


async def run(units: UnitsOfWork, options: Options) -> list[Done]:
    one = runs.Import(service(units), [Row(line, each) for line, each in enumerate(ROWS, 1)], options)
    return [outcome.done async for step in one.steps() for outcome in step.outcomes]


@pytest.mark.parametrize("batch", [3, 250])
async def test_rows_have_the_same_results_on_every_store(
    units: UnitsOfWork, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH", batch)
    assert await run(units, Options()) == ENDS
    async with units.reading() as work:
        changes = await work.changes.list(since=0, limit=MAX_LIMIT)
        people = {each.id: each.name for each in await work.users.list(limit=9)}  # a unit that is undone uses up ids
        names = {each.id: each.name for each in await work.groups.list(limit=9)}
        members = await work.memberships.of_users(list(people))
    assert len(people) == 3
    assert len(changes) == ENDS.count("created") + 1  # one row is a user and a membership
    assert [(people[each.user_id], names[each.group_id], each.role) for each in members] == [
        ("Alice", "Engineers", "lead"),
        ("Bob", "Staff", None),
    ]


async def test_the_same_rows_again_change_nothing(units: UnitsOfWork) -> None:
    with_key = [row for row in ROWS if row.get("external_id") or "kind" in row]
    for expected in ("created", "unchanged"):
        one = runs.Import(
            service(units), [Row(line, each) for line, each in enumerate(with_key, 1)], Options(mode=Mode.UPSERT)
        )
        done = [outcome.done async for step in one.steps() for outcome in step.outcomes]
        assert [each for each in done if each != "rejected"] == [expected] * 6


async def test_an_import_with_a_key_stores_no_row_twice(units: UnitsOfWork) -> None:
    for _ in range(2):
        assert await run(units, Options(key=FileKey("once", "digest"))) == ENDS
    async with units.reading() as work:
        assert len(await work.changes.list(since=0, limit=MAX_LIMIT)) == ENDS.count("created") + 1

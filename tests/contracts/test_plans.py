"""How statements find their rows: the index, read from the plans of both databases, and the executor."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import pytest
import sqlalchemy as sa
from tests.contracts.sample import PARTICIPATIONS, Participation, SampleUnits

from domain.lists.fields import fields_of
from domain.lists.filters import equal, every
from domain.lists.pages import DEFAULT_LIMIT, Position, parse_sort
from domain.lists.projections import Projection
from domain.lists.terms import parse_filter
from domain.stores import Hidden
from domain.users import FIELDS, User
from repositories.answers import FORGET, FORGET_ABOUT_IT
from repositories.changes import LATEST_OF_SUBJECT, LIST_OF_SUBJECT
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.executors import DIALECT as POSTGRES
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.executors import DIALECT as SQLITE
from repositories.engines.statements import Parameters, Result, Rows, compiled_written, prepare
from repositories.journal import REDACT_ABOUT_IT, REDACT_ITS_OWN
from repositories.lists.pages import Query, page
from repositories.tables import documents
from repositories.tables.reading import SqlReadStore
from repositories.tables.recording import naming_subjects, recording_additions
from repositories.tables.set_wise import Referring, deleting, recording_ends
from repositories.units import Reading
from repositories.users import USERS

FILL = """
    INSERT INTO users (name, name_key, email, email_key, username_key, external_id, status, attributes,
                       created_at, updated_at, version)
    SELECT 'n' || n, 'n' || n, 'e' || n, CASE WHEN n % 3 > 0 THEN 'e' || n END, CASE WHEN n % 50 > 0 THEN 'u' || n END,
           'x' || n, CASE WHEN n % 100 = 0 THEN 'suspended' ELSE 'active' END, '{"a": 1}',
           timestamptz '2026-01-01' + n * interval '1 minute', timestamptz '2026-01-01' + n * interval '1 minute', 1
    FROM generate_series(1, 6000) AS n
"""

AT = "2026-01-03T00:00:00Z"

FILTERS = {
    ('email eq "e77"', "id"): "uq_users_email_key",
    ('username eq "u77" and attributes.a gt 0', "name"): "uq_users_username_key",
    ('external_id eq "x77" and not (name sw "x")', "id"): "uq_users_external_id",
    ('status eq "suspended"', "id"): "ix_users_status_id",
    (f'created_at gt "{AT}" and created_at lt "2026-01-03T00:10:00Z"', "id"): "ix_users_created_at_id",
    (f'created_at ge "{AT}"', "created_at"): "ix_users_created_at_id",
    ('updated_at le "2026-01-01T00:10:00Z"', "-updated_at"): "ix_users_updated_at_id",
}

PAGES: dict[tuple[str, Position | None], str] = {
    ("name", None): "ix_users_name_key_id",
    ("name", ("n5", 5)): "ix_users_name_key_id",
    ("-name", ("n5", 5)): "ix_users_name_key_id",
    ("status", ("active", 5)): "ix_users_status_id",
    ("-created_at", (AT, 5)): "ix_users_created_at_id",
    ("updated_at", (AT, 5)): "ix_users_updated_at_id",
    ("email", None): "uq_users_email_key",
    ("email", ("e5", 5)): "uq_users_email_key",
    ("-email", None): "uq_users_email_key",
    ("-username", (None, 5)): "uq_users_username_key",
    ("-external_id", ("x5", 5)): "uq_users_external_id",
    ("-id", (5,)): "PRIMARY KEY",
}


def filtered(text: str, sort: str) -> Query:
    return page(USERS.listings[Hidden.NO], parse_filter(text, FIELDS), parse_sort(sort, FIELDS), None, 10)


def sorted_by(text: str, after: Position | None) -> Query:
    return page(USERS.listings[Hidden.NO], None, parse_sort(text, FIELDS), after, 10)


async def sqlite_plan(database: SqliteDatabase, query: Query) -> str:
    prepared = prepare(query.statement, SQLITE, None)
    assert database._reading is not None
    rows = await database._reading.execute_fetchall(
        "EXPLAIN QUERY PLAN " + prepared.sql, prepared.arguments(query.parameters)
    )
    return "\n".join(row[3] for row in rows)


async def fill(database: PostgresDatabase) -> None:
    """Store so many users that a scan is the worse plan."""
    async with database.transaction() as executor:
        await executor.fetch(sa.text(FILL))
        await executor.fetch(sa.text("ANALYZE users"), last=True)


async def postgres_plan(database: PostgresDatabase, query: Query) -> str:
    await fill(database)
    prepared = prepare(query.statement, POSTGRES, None)
    assert database._reading is not None
    async with database._reading.one() as connection:
        rows = await connection.fetch("EXPLAIN " + prepared.sql, *prepared.arguments(query.parameters))
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize(("text", "sort"), FILTERS)
async def test_a_filter_by_a_key_uses_its_index_on_sqlite(sqlite: SqliteDatabase, text: str, sort: str) -> None:
    plan = await sqlite_plan(sqlite, filtered(text, sort))
    assert f"SEARCH users USING INDEX {FILTERS[text, sort]}" in plan


@pytest.mark.parametrize(("text", "sort"), FILTERS)
async def test_a_filter_by_a_key_uses_its_index_on_postgres(postgres: PostgresDatabase, text: str, sort: str) -> None:
    plan = await postgres_plan(postgres, filtered(text, sort))
    assert f" using {FILTERS[text, sort]} on users" in plan
    assert "Seq Scan on users" not in plan  # the record of changes is empty here


ALTERNATIVES: Final = 'email eq "e77" or username eq "u78" or name eq "n79"'
INDEXES: Final = ("uq_users_email_key", "uq_users_username_key", "ix_users_name_key_id")


async def test_each_alternative_uses_its_index_on_sqlite(sqlite: SqliteDatabase) -> None:
    plan = await sqlite_plan(sqlite, filtered(ALTERNATIVES, "id"))
    assert "SCAN users" not in plan
    assert all(f"SEARCH users USING INDEX {name}" in plan for name in INDEXES), plan


async def test_each_alternative_uses_its_index_on_postgres(postgres: PostgresDatabase) -> None:
    plan = await postgres_plan(postgres, filtered(ALTERNATIVES, "id"))
    assert "Seq Scan on users" not in plan  # the record of changes is empty here
    assert all(f"Bitmap Index Scan on {name}" in plan for name in INDEXES), plan


@pytest.mark.parametrize(("text", "after"), PAGES)
async def test_a_page_begins_in_its_index_on_sqlite(sqlite: SqliteDatabase, text: str, after: Position | None) -> None:
    plan = await sqlite_plan(sqlite, sorted_by(text, after))
    reads = [line for line in plan.splitlines() if " users" in line]
    assert all(PAGES[text, after] in line for line in reads), plan
    assert after is None or all("SEARCH" in line for line in reads), plan
    assert "SCALAR SUBQUERY 1\nSEARCH changes" in plan, plan  # the last change, at the end of its index
    of_the_page = (
        plan.replace("SCALAR SUBQUERY 1\nSEARCH changes", "").replace("\n\n", "\n").removesuffix("\nSCAN page")
    )
    assert "TEMP B-TREE" not in of_the_page.removesuffix("SCAN anon_1\nUSE TEMP B-TREE FOR ORDER BY"), (
        plan
    )  # of the few


@pytest.mark.parametrize(("text", "after"), PAGES)
async def test_a_page_begins_in_its_index_on_postgres(
    postgres: PostgresDatabase, text: str, after: Position | None
) -> None:
    plan = await postgres_plan(postgres, sorted_by(text, after))
    assert f" using {PAGES[text, after].replace('PRIMARY KEY', 'pk_users')} on users" in plan
    assert "Seq Scan on users" not in plan  # the record of changes is empty here
    assert "Bitmap" not in plan  # it loses the order, and reads all before it sorts them


async def test_a_composed_statement_is_compiled_once_for_its_shape(sqlite: SqliteDatabase) -> None:
    one, other = filtered('name eq "a"', "name"), filtered('name eq "b"', "name")
    assert one.statement is other.statement
    assert one.parameters != other.parameters
    assert one.statement is not filtered('name gt "b"', "name").statement
    assert filtered("attributes.a eq 1", "id").statement is not filtered('attributes.a eq "1"', "id").statement


async def test_many_filters_push_no_constant_statement_out_of_the_cache(sqlite: SqliteDatabase) -> None:
    before = compiled_written.cache_info()
    for number in range(20):
        await sqlite.reader.fetch(*filtered(f"attributes.a{number} pr", "id")[:2])
    assert compiled_written.cache_info() == before


class Recorder:
    """An executor that returns nothing and counts its calls."""

    def __init__(self) -> None:
        self.asked = 0

    async def fetch(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        self.asked += 1
        return ()

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("text", "sort", "scans"),
    [
        (None, "id", False),
        (None, "-email", False),
        (None, "status,name", True),
        (None, "-name,id", True),
        ('email eq "a"', "name", False),
        ('name sw "a" and external_id eq "a"', "id", False),
        ('email eq "a" or external_id eq "a"', "id", True),
        ('not (email eq "a")', "id", True),
        ("attributes.a pr", "id", True),
    ],
)
async def test_a_list_that_may_read_the_whole_table_runs_on_the_executor_for_scans(
    sqlite: SqliteDatabase, text: str | None, sort: str, scans: bool
) -> None:
    executor, scanning = Recorder(), Recorder()
    filter = None if text is None else parse_filter(text, FIELDS)
    await SqlReadStore(USERS, Reading(executor, scanning, database=sqlite)).list(
        filter=filter, sort=parse_sort(sort, FIELDS), limit=1
    )
    assert (executor.asked, scanning.asked) == ((0, 1) if scans else (1, 0))


@pytest.mark.parametrize(("names", "scans"), [(["project_id", "user_id"], False), (["user_id"], True)])
def test_a_filter_on_all_fields_of_a_unique_group_is_not_a_scan(names: list[str], scans: bool) -> None:
    fields = fields_of(Participation)
    pair = every(equal(fields[name], 1) for name in names)
    assert page(PARTICIPATIONS.listings[Hidden.NO], pair, parse_sort("id", fields), None, 1).scans is scans


async def test_scans_have_a_connection_of_their_own_on_sqlite(sqlite: SqliteDatabase) -> None:
    assert sqlite.scans._connection is not sqlite.reader._connection


FILL_CHANGES: Final = (
    """
    INSERT INTO changes (kind, entity_id, version, action, actor, request_id, at, subjects)
    SELECT CASE WHEN n % 2 = 0 THEN 'user' ELSE 'participation' END, n / 4, 1, 'created', 'a', 'r',
           timestamptz '2026-01-01' + n * interval '1 minute', '[]'
    FROM generate_series(1, 6000) AS n
    """,
    """
    INSERT INTO change_subjects (kind, id, seq)
    SELECT CASE WHEN seq % 3 = 0 THEN 'user' ELSE 'project' END, seq / 9, seq FROM changes WHERE kind = 'participation'
    """,
    """
    INSERT INTO answers (actor, key, fingerprint, answer, kind, entity_id, at)
    SELECT 'a', 'key ' || n, 'f', 'answer', CASE WHEN n % 2 = 0 THEN 'user' ELSE 'participation' END, n / 4,
           timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(1, 6000) AS n
    """,
    "ANALYZE changes, change_subjects, answers",
)

ALICE: Final[dict[str, Any]] = {"its_kind": "user", "its_id": 7}
HER_PARTICIPATIONS: Final = {**ALICE, "other_kind": "participation"}

BY_SUBJECT: Final[dict[str, tuple[sa.Executable, dict[str, Any]]]] = {
    "list": (LIST_OF_SUBJECT, {**ALICE, "since": 5, "limit": 100}),
    "list the newest": (LATEST_OF_SUBJECT, {**ALICE, "before": 10**6, "limit": 100}),
    "redact its own": (REDACT_ITS_OWN, ALICE),
    "redact about it": (REDACT_ABOUT_IT, HER_PARTICIPATIONS),
    "forget": (FORGET, ALICE),
    "forget about it": (FORGET_ABOUT_IT, HER_PARTICIPATIONS),
}

ITS_CHANGES: Final = "SEARCH changes USING INDEX ix_changes_kind_entity_id_seq (kind=? AND entity_id=?"
ITS_SUBJECTS: Final = "SEARCH change_subjects USING PRIMARY KEY (kind=? AND id=?"
ITS_ANSWERS: Final = "SEARCH answers USING INDEX ix_answers_kind_entity_id (kind=? AND entity_id=?)"

SEARCHES_ON_SQLITE: Final[dict[str, list[str]]] = {
    "list": [
        f"{ITS_CHANGES} AND seq>?)",
        f"{ITS_SUBJECTS} AND seq>?)",
        "SEARCH changes USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "list the newest": [
        f"{ITS_CHANGES} AND seq<?)",
        f"{ITS_SUBJECTS} AND seq<?)",
        "SEARCH changes USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "redact its own": [f"{ITS_CHANGES})"],
    "redact about it": [
        "SEARCH changes USING INTEGER PRIMARY KEY (rowid=?)",
        f"{ITS_SUBJECTS})",
        "SEARCH changes_1 USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "forget": [ITS_ANSWERS],
    "forget about it": [ITS_ANSWERS, f"{ITS_SUBJECTS})", "SEARCH changes USING INTEGER PRIMARY KEY (rowid=?)"],
}

INDEXES_ON_POSTGRES: Final[dict[str, set[str]]] = {
    "list": {"ix_changes_kind_entity_id_seq", "pk_change_subjects", "pk_changes"},
    "list the newest": {"ix_changes_kind_entity_id_seq", "pk_change_subjects", "pk_changes"},
    "redact its own": {"ix_changes_kind_entity_id_seq"},
    "redact about it": {"pk_change_subjects", "pk_changes"},
    "forget": {"ix_answers_kind_entity_id"},
    "forget about it": {"pk_change_subjects", "pk_changes", "ix_answers_kind_entity_id"},
}


@pytest.mark.parametrize("name", BY_SUBJECT)
async def test_changes_about_an_entity_are_found_by_index_on_sqlite(sqlite: SqliteDatabase, name: str) -> None:
    statement, parameters = BY_SUBJECT[name]
    prepared = prepare(statement, SQLITE, parameters)
    assert sqlite._reading is not None
    rows = await sqlite._reading.execute_fetchall("EXPLAIN QUERY PLAN " + prepared.sql, prepared.arguments(parameters))
    plan = [row[3] for row in rows]
    assert [line for line in plan if line.startswith("SEARCH")] == SEARCHES_ON_SQLITE[name]
    assert all(line.startswith("SCAN anon_") for line in plan if "SCAN" in line), plan  # of no more than the limit
    sorts = [number for number, line in enumerate(plan) if "TEMP B-TREE" in line]
    assert all(plan[number - 1].startswith("SCAN anon_") for number in sorts), plan


ITS_PARTICIPATIONS: Final = "SEARCH sample_participations USING INDEX ix_sample_participations_user_id_id (user_id=?)"
BY_THE_INDEX_ALONE: Final = (
    "SEARCH sample_participations USING COVERING INDEX ix_sample_participations_user_id_id (user_id=?)"
)
BY_THEIR_NUMBERS: Final = "SEARCH changes USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"

AMONG_ROWS: Final = ["LIST SUBQUERY 1", "SCAN item VIRTUAL TABLE INDEX 1:"]
SORTED: Final = "USE TEMP B-TREE FOR ORDER BY"
OF_ONE: Final = Referring("user_id", hidden=True, to_one=True)
BY_ITS_ID: Final = "SEARCH sample_participations USING INTEGER PRIMARY KEY (rowid=?)"
OF_SOME: Final = Referring("user_id", hidden=True, to_one=False)

AT_ONCE: Final[dict[str, tuple[sa.Executable, list[str]]]] = {
    "record": (recording_ends(PARTICIPATIONS, OF_ONE, None), [ITS_PARTICIPATIONS]),
    "record new ones": (recording_additions(PARTICIPATIONS, None), [BY_ITS_ID, *AMONG_ROWS]),
    "name the projects": (
        naming_subjects(PARTICIPATIONS, "project_id", "project"),
        [BY_THEIR_NUMBERS, BY_ITS_ID],
    ),
    "delete": (
        deleting(PARTICIPATIONS, OF_ONE),
        [BY_THE_INDEX_ALONE],
    ),
    "record those of some": (recording_ends(PARTICIPATIONS, OF_SOME, None), [ITS_PARTICIPATIONS, *AMONG_ROWS, SORTED]),
    "delete those of some": (
        deleting(PARTICIPATIONS, OF_SOME),
        [
            "SEARCH sample_participations USING COVERING INDEX ix_sample_participations_user_id_id (user_id=?)",
            *AMONG_ROWS,
        ],
    ),
}


@pytest.mark.parametrize("name", AT_ONCE)
async def test_set_wise_writes_read_no_other_rows_on_sqlite(sample_sqlite: SampleUnits, name: str) -> None:
    statement, plan = AT_ONCE[name]
    parameters = dict.fromkeys(("referred_id", "rows", "first", "last", "actor", "request_id", "recorded_at"))
    prepared = prepare(statement, SQLITE, parameters)
    reading = sample_sqlite._database.reader._connection  # type: ignore[attr-defined]
    rows = await reading.execute_fetchall("EXPLAIN QUERY PLAN " + prepared.sql, prepared.arguments(parameters))
    assert [row[3] for row in rows] == plan


@pytest.fixture
async def full_postgres(postgres: PostgresDatabase) -> PostgresDatabase:
    """So many changes and answers that to read all of them is the worse plan."""
    async with postgres.transaction() as executor:
        for statement in FILL_CHANGES:
            await executor.fetch(sa.text(statement))
        await executor.commit()
    return postgres


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_changes_about_an_entity_are_found_by_index_on_postgres(
    full_postgres: PostgresDatabase, mode: str
) -> None:
    """With the plan for these parameters, and with the generic plan."""
    assert full_postgres._reading is not None
    async with full_postgres._reading.one() as connection:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        for name, (statement, parameters) in BY_SUBJECT.items():
            prepared = prepare(statement, POSTGRES, parameters)
            rows = await connection.fetch("EXPLAIN (FORMAT JSON) " + prepared.sql, *prepared.arguments(parameters))
            plan = list(nodes(rows[0][0][0]["Plan"]))
            assert {each["Index Name"] for each in plan if "Index Name" in each} == INDEXES_ON_POSTGRES[name], plan
            scans = [each for each in plan if each["Node Type"].endswith("Scan")]
            reads = [each for each in scans if each["Node Type"] not in {"Subquery Scan", "Bitmap Heap Scan"}]
            assert all("Index Cond" in each for each in reads), plan
            assert name != "list" or all("seq" in each["Index Cond"] for each in reads), plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {key: value for key, value in plan.items() if key != "Plans"}
    for each in plan.get("Plans", ()):
        yield from nodes(each)


WHOLE: Final = Projection(User, tuple(each.name for each in fields(User)))


async def test_the_list_by_id_is_planned_once_on_postgres(postgres: PostgresDatabase) -> None:
    """PostgreSQL decides after five executions whether it plans a statement each time."""
    await fill(postgres)
    limit = DEFAULT_LIMIT + 1
    prepared = prepare(documents.by_id(USERS, WHOLE, limit), POSTGRES, None)
    assert postgres._reading is not None
    async with postgres._reading.one() as connection:
        for last in range(0, 6000, 600):
            await connection.fetch(prepared.sql, *prepared.arguments({"after": last, "limit": limit}))
        plans = await connection.fetch(
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1", prepared.sql
        )
    assert [tuple(row) for row in plans] == [(5, 5)]


@pytest.mark.parametrize("limit", [DEFAULT_LIMIT + 1, DEFAULT_LIMIT + 2])
def test_a_page_reads_many_rows_although_it_is_one_row(limit: int) -> None:
    """So that the results of short reads do not wait for it."""
    assert prepare(documents.by_id(USERS, WHOLE, limit), SQLITE, None).reads_many
    assert not prepare(USERS.get, SQLITE, None).reads_many

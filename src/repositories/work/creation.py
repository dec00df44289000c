"""Adding a single entity, with its change and the commit, in one trip to the database.

Most writes are like this. Both engines commit creations together that arrive during a commit: SQLite with a savepoint
for each, PostgreSQL in one statement. PostgreSQL holds the lock that orders commits only for this statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, TypeGuard, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from domain.entities import Entity
from domain.errors import Conflict
from domain.journal import Journal
from domain.stores import Store
from repositories.changes import COLUMNS, changes
from repositories.engines.json_rows import numbered_rows_of
from repositories.journal import in_commit_order, row_of
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.units import Writing

N = TypeVar("N")
E = TypeVar("E", bound=Entity)

NEW: Final = "new_"
CHANGE: Final = "change_"
"""Prefixes of the names of parameters. They are needed because both tables have a column `version`."""

UNKNOWN_ID: Final = 0


def can_be_alone(store: Store[N, E], unit: Writing) -> TypeGuard[SqlStore[N, E]]:
    """Whether the addition can be the whole unit: no statement ran before, and there are no references to lock or
    check."""
    return (
        isinstance(store, SqlStore)
        and type(store).add is SqlStore.add
        and not store.table.entity.references
        and not unit.executor.has_begun
        and unit.opened is None
    )


async def create(store: SqlStore[N, E], unit: Writing, new: N) -> tuple[E, int]:
    """Add an entity and commit. Returns it, and the number of its change. Raises what `add` and `commit` raise."""
    values = store.values_of_new(new)
    entity: Any = store.table.entity
    added = entity(id=UNKNOWN_ID, **values)
    journal = Journal()
    journal.added(added)
    (change,) = journal.changes(actor=unit.actor, request_id=unit.request_id, at=unit.now)
    columns = store.table.with_keys(dict(values))
    row = {name: value for name, value in row_of(change).items() if name != "entity_id"}
    steps, together = creating(store.table, tuple(columns), unit.commit_order)
    try:
        ((seq, id),) = await unit.executor.run_alone(steps, {**named(NEW, columns), **named(CHANGE, row)}, together)
    except Conflict as conflict:
        raise await store.in_full(conflict, columns) from conflict
    return replace(cast("Any", added), id=id), int(seq)


def named(prefix: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


@cache
def creating(
    table: EntityTable[Any, Any], columns: Sequence[str], order: "sa.Select[Any] | None"
) -> tuple[Sequence[sa.Executable], sa.Executable | None]:
    """The statements: two on SQLite, whose commits are in order. On PostgreSQL, which has to order its commits, it is
    one, and a second one that does the same for many entities."""
    added = sa.insert(table.table).values({name: bound(NEW, table.table.c[name]) for name in columns})
    change = {name: bound(CHANGE, changes.c[name]) for name in COLUMNS if name != "entity_id"}
    if order is None:
        its_id = sa.func.last_insert_rowid(type_=sa.BigInteger())
        recorded = sa.insert(changes).values(**change, entity_id=its_id)
        return (added, recorded.returning(changes.c.seq, changes.c.entity_id)), None
    new = added.returning(table.table.c.id).cte("added")
    rows = sa.select(*[new.c.id if name == "entity_id" else change[name] for name in COLUMNS])
    recorded = sa.insert(changes).from_select(COLUMNS, in_commit_order(rows, order, new))
    return (recorded.returning(changes.c.seq, changes.c.entity_id),), creating_many(table, columns, order)


def creating_many(
    table: EntityTable[Any, Any], columns: Sequence[str], order: "sa.Select[Any]"
) -> "sa.Select[tuple[int, int, int]]":
    """The statement for many additions, each of which is a row of the parameter. Returns the number of each row, from
    1, and what `creating` returns.

    A row with a unique value that another entity has is silently left out. The ids are drawn first, so that they show
    which rows were added. Ids and numbers of changes are in the order of the rows.
    """
    own = [sa.column(f"{NEW}{name}", table.table.c[name].type) for name in columns]
    of_change = [sa.column(f"{CHANGE}{name}", changes.c[name].type) for name in COLUMNS if name != "entity_id"]
    drawn = sa.func.nextval(sa.select(sa.func.pg_get_serial_sequence(table.table.name, "id")).scalar_subquery())
    news = numbered_rows_of(*own, *of_change).add_columns(drawn.label("id")).cte("news")
    values = sa.select(news.c.id, *[news.c[each.name] for each in own])
    added = (
        postgresql.insert(table.table)
        .from_select(["id", *columns], values)
        .on_conflict_do_nothing()
        .returning(table.table.c.id)
        .cte("added")
    )
    rows = sa.select(*[added.c.id if name == "entity_id" else news.c[f"{CHANGE}{name}"] for name in COLUMNS])
    rows = rows.join_from(news, added, news.c.id == added.c.id).order_by(added.c.id)
    recorded = (
        sa.insert(changes)
        .from_select(COLUMNS, in_commit_order(rows, order, added))
        .returning(changes.c.seq, changes.c.entity_id)
        .cte("recorded")
    )
    told = sa.select(news.c.number, recorded.c.seq, recorded.c.entity_id)
    return told.join_from(news, recorded, news.c.id == recorded.c.entity_id)


def bound(prefix: str, column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}{column.name}", type_=column.type)

"""Adding a single entity, with its change and the commit, in one trip to the database.

Most writes are like this. On SQLite several of them share a COMMIT. On PostgreSQL it is one statement in autocommit, so
the lock that orders commits is held only for that statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, TypeGuard, TypeVar, cast

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import Conflict
from domain.journal import Journal
from domain.stores import Store
from repositories.changes import COLUMNS, changes
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
    steps = creating(store.table, tuple(columns), unit.commit_order)
    try:
        ((seq, id),) = await unit.executor.run_alone(steps, {**named(NEW, columns), **named(CHANGE, row)})
    except Conflict as conflict:
        raise await store.in_full(conflict, columns) from conflict
    return replace(cast("Any", added), id=id), int(seq)


def named(prefix: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


@cache
def creating(
    table: EntityTable[Any, Any], columns: Sequence[str], order: "sa.Select[Any] | None"
) -> Sequence[sa.Executable]:
    """The statements: two on SQLite, whose commits are in order, and one on PostgreSQL, which has to order its
    commits."""
    added = sa.insert(table.table).values({name: bound(NEW, table.table.c[name]) for name in columns})
    change = {name: bound(CHANGE, changes.c[name]) for name in COLUMNS if name != "entity_id"}
    if order is None:
        its_id = sa.func.last_insert_rowid(type_=sa.BigInteger())
        recorded = sa.insert(changes).values(**change, entity_id=its_id)
        return (added, recorded.returning(changes.c.seq, changes.c.entity_id))
    id = added.returning(table.table.c.id).cte("added").c.id
    rows = sa.select(*[id if name == "entity_id" else change[name] for name in COLUMNS])
    recorded = sa.insert(changes).from_select(COLUMNS, in_commit_order(rows, order))
    return (recorded.returning(changes.c.seq, changes.c.entity_id),)


def bound(prefix: str, column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}{column.name}", type_=column.type)

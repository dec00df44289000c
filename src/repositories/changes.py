"""Changes in SQL: the table, its store, and how a unit of work appends to it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from domain.changes import BY_SEQ, Action, Change, Entity, NewChange
from domain.filters import Filter
from domain.values import is_id
from repositories.engines.executors import Executor, Transaction
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.engines.statements import Row, Rows, bounded
from repositories.lists.pages import Listing, Query, page

changes: Final = sa.Table(
    "changes",
    metadata,
    sa.Column("seq", BigId, sa.Identity(), primary_key=True),
    sa.Column("kind", Key, nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("action", Key, nullable=False),
    sa.Column("actor", Key, nullable=False),
    sa.Column("request_id", Key, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("before", Json),
    sa.Column("after", Json),
    sa.Index("ix_changes_kind_entity_id_seq", "kind", "entity_id", "seq"),
    sqlite_autoincrement=True,
)

CHANGE: Final = tuple(
    changes.c[name]
    for name in ("kind", "entity_id", "version", "action", "actor", "request_id", "at", "before", "after", "seq")
)
"""The columns of a Change, in the order of its fields."""

COLUMNS: Final = tuple(each.name for each in fields(NewChange))
LISTING: Final = Listing(
    columns=CHANGE,
    keys={
        name: changes.c[name] for name in ("seq", "kind", "entity_id", "version", "action", "actor", "request_id", "at")
    },
    shown=sa.true(),
    unique=frozenset({"seq"}),
)
LAST_SEQ: Final = sa.select(sa.func.coalesce(sa.func.max(changes.c.seq), 0))
LIST: Final = (
    sa.select(*CHANGE).where(changes.c.seq > sa.bindparam("since")).order_by(changes.c.seq).limit(sa.bindparam("limit"))
)
LIST_OF_ONE: Final = LIST.where(
    changes.c.kind == sa.bindparam("kind"), changes.c.entity_id == sa.bindparam("entity_id")
)

REDACT: Final = (
    sa.update(changes)
    .where(changes.c.kind == sa.bindparam("redacted_kind"), changes.c.entity_id == sa.bindparam("redacted_id"))
    .values(before=None, after=None)
)


class SqlChanges:
    """The record of changes, to read. What may read all of it takes the executor for scans."""

    def __init__(self, executor: Executor, scans: Executor) -> None:
        self._executor = executor
        self._scans = scans

    async def list(
        self,
        *,
        filter: Filter | None = None,
        since: int = 0,
        kind: str | None = None,
        entity_id: int | None = None,
        limit: int,
    ) -> Sequence[Change]:
        window = {"since": bounded(since), "limit": bounded(limit)}
        if kind is None and filter is not None:
            rows = await self._ask(page(LISTING, filter, BY_SEQ, (window["since"],), window["limit"]))
        elif kind is None:
            rows = await self._executor.fetch(LIST, window)
        elif entity_id is not None and is_id(entity_id):
            rows = await self._executor.fetch(LIST_OF_ONE, {**window, "kind": kind, "entity_id": entity_id})
        else:
            rows = ()
        return [change_of(row) for row in rows]

    async def last(self) -> int:
        ((seq,),) = await self._executor.fetch(LAST_SEQ)
        return int(seq)

    async def _ask(self, query: Query) -> Rows:
        executor = self._scans if query.scans else self._executor
        return await executor.fetch(query.statement, query.parameters)


async def append(
    executor: Transaction, new: Sequence[NewChange], order: sa.Select[Any] | None, *, last: bool
) -> int | None:
    """Number and keep these changes; the number of the last, if there is any. With the `last` the executor commits.

    `order` is what a database runs before each is numbered, if commits could overtake each other there.
    """
    seq = None
    for change in new:
        ends = last and change is new[-1]
        ((seq,),) = await executor.fetch(append_after(order), row_of(change), last=ends)
    return seq


@cache
def append_after(order: sa.Select[Any] | None) -> sa.Insert:
    if order is None:
        return sa.insert(changes).returning(changes.c.seq)
    columns = [changes.c[name] for name in COLUMNS]
    values = sa.select(*[sa.bindparam(column.name, type_=column.type) for column in columns])
    turn = order.cte("turn").prefix_with("MATERIALIZED", dialect="postgresql")
    return sa.insert(changes).from_select(columns, values.select_from(turn)).returning(changes.c.seq)


def row_of(change: NewChange) -> Mapping[str, Any]:
    return {name: getattr(change, name) for name in COLUMNS}


async def redact(executor: Executor, entity: Entity) -> None:
    """Erase what its changes say of an entity. That there were changes, when and by whom, stays."""
    await executor.fetch(REDACT, {"redacted_kind": entity.kind, "redacted_id": entity.id})


def change_of(row: Row) -> Change:
    kind, entity_id, version, action, actor, request_id, at, before, after, seq = row
    return Change(
        kind=kind,
        entity_id=entity_id,
        version=version,
        action=Action(action),
        actor=actor,
        request_id=request_id,
        at=at,
        before=before,
        after=after,
        seq=seq,
    )

"""Writing to the record of changes, and erasing values from it."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from domain.changes import NewChange
from domain.entities import Entity
from repositories.changes import COLUMNS, IS_ABOUT, IS_OF, change_subjects, changes
from repositories.engines.executors import Transaction
from repositories.engines.json_rows import ROWS, as_parameter, rows_of

ABOUT: Final = changes.alias()
SEQS_ABOUT: Final = (
    sa.select(change_subjects.c.seq)
    .join_from(change_subjects, ABOUT, ABOUT.c.seq == change_subjects.c.seq)
    .where(*IS_ABOUT, ABOUT.c.kind == sa.bindparam("other_kind"))
)
"""The kind is compared here, not in the statement that uses this. There SQLite would use the index of the kind, and
read all changes of it."""

EMPTY: Final = sa.update(changes).values(before=None, after=None)
REDACT_ITS_OWN: Final = EMPTY.where(*IS_OF)
REDACT_ABOUT_IT: Final = EMPTY.where(changes.c.seq.in_(SEQS_ABOUT))


async def append(executor: Transaction, new: Sequence[NewChange], order: sa.Select[Any] | None, *, last: bool) -> int:
    """Number and store these changes, of which there is at least one, in one statement. Returns the number of the last
    one.

    `order` runs before the numbers are drawn, on a database whose commits could otherwise overtake each other. With
    `last` the statement also commits the transaction.
    """
    if len(new) == 1 and len(new[0].subjects) == 1:
        ((seq,),) = await executor.fetch(inserting_one(order), row_of(new[0]), last=last)
        return int(seq)
    await asyncio.sleep(0)  # let requests run in between
    rows = [list(row_of(change).values()) for change in new]
    seqs = [row[0] for row in await executor.fetch(inserting_many(order), {ROWS: as_parameter(rows)})]
    named = [(kind, id, seq) for change, seq in zip(new, seqs, strict=True) for kind, id in change.subjects[1:]]
    if named:
        await executor.write(NAME_SUBJECTS, {ROWS: as_parameter(named)})
    if last:
        await executor.commit()
    return int(seqs[-1])


NAME_SUBJECTS: Final = sa.insert(change_subjects).from_select(
    ["kind", "id", "seq"], rows_of(change_subjects.c.kind, change_subjects.c.id, change_subjects.c.seq)
)


@cache
def inserting_one(order: sa.Select[Any] | None) -> sa.Insert:
    if order is None:
        return sa.insert(changes).returning(changes.c.seq)
    columns = [changes.c[name] for name in COLUMNS]
    return inserting(sa.select(*[sa.bindparam(column.name, type_=column.type) for column in columns]), order)


@cache
def inserting_many(order: sa.Select[Any] | None) -> sa.Insert:
    return inserting(rows_of(*[changes.c[name] for name in COLUMNS]), order)


def inserting(rows: sa.Select[Any], order: sa.Select[Any] | None) -> sa.Insert:
    """An INSERT of these rows. Their numbers are drawn after the statement that orders commits has run."""
    ordered = rows if order is None else in_commit_order(rows, order)
    return sa.insert(changes).from_select(COLUMNS, ordered).returning(changes.c.seq)


def in_commit_order(rows: sa.Select[Any], order: sa.Select[Any], after: sa.CTE | None = None) -> sa.Select[Any]:
    """These rows, after the statement that orders commits has run.

    With `after`, the order is established only when all of those rows are written, if there are any. So a unit that
    waits for a row of another unit does not hold the lock that the other one waits for.
    """
    if after is not None:
        order = order.where(sa.select(sa.func.count()).select_from(after).scalar_subquery() > 0)
    return rows.select_from(order.cte("commit_order").prefix_with("MATERIALIZED", dialect="postgresql"))


def row_of(change: NewChange) -> Mapping[str, Any]:
    row = {name: getattr(change, name) for name in COLUMNS}
    row["subjects"] = change.subjects if len(change.subjects) > 1 else None
    return row


async def redact(executor: Transaction, entity: Entity, kinds_about: Sequence[str]) -> None:
    """Erase the values of an entity in its changes, and in changes of other entities whose values are personal data of
    it.

    The rows are kept, with their times and actors.
    """
    it = {"its_kind": entity.kind, "its_id": entity.id}
    await executor.fetch(REDACT_ITS_OWN, it)
    for kind in kinds_about:
        await executor.fetch(REDACT_ABOUT_IT, {**it, "other_kind": kind})

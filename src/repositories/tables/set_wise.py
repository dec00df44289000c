"""Ending many entities at once: the database writes their changes itself, so their rows are not read into Python.

For 5,000 memberships this takes a tenth of the time. On SQLite no other unit can write during this time. Entities whose
changes the database cannot write go through the journal.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa

from domain.changes import Action
from domain.journal import recorded_fields
from repositories.engines.json_rows import rows_of
from repositories.engines.statements import Parameters
from repositories.tables.many import ids_as_rows
from repositories.tables.recording import object_of, record, recording
from repositories.tables.table import EntityTable
from repositories.units import Writing

AnyTable = EntityTable[Any, Any]


class Referring(NamedTuple):
    """Which entities of a table are meant: those that refer by a field to one entity, or to some, with hidden ones or
    without.

    Statements for one are apart: PostgreSQL takes rows of ids for a hundred, and may read the whole table for them.
    """

    field: str
    hidden: bool
    to_one: bool

    def conditions(self, table: AnyTable) -> Sequence[sa.ColumnElement[bool]]:
        column = table.table.c[self.field]
        refers = column == sa.bindparam(ITS_ID) if self.to_one else column.in_(rows_of(column))
        return [refers] if self.hidden else [refers, table.shown]


ITS_ID: Final = "referred_id"


def referred(ids: Sequence[int]) -> Parameters:
    """What such statements take."""
    return {ITS_ID: ids[0]} if len(ids) == 1 else ids_as_rows(ids)


async def end_all(unit: Writing, table: AnyTable, those: Referring, ids: Sequence[int]) -> int:
    """End the entities that refer to these ids, with a change for each. Returns how many there were."""
    seqs = await record(unit, table, recording_ends(table, those, unit.commit_order), referred(ids))
    if seqs:
        await unit.executor.fetch(deleting(table, those), referred(ids))
        unit.journal.seq = seqs[-1]
    return len(seqs)


@cache
def recording_ends(table: AnyTable, those: Referring, order: sa.Select[Any] | None) -> sa.Insert:
    entity = table.entity
    values = {
        "action": Action.ENDED,
        "version": table.table.c.version + sa.literal_column("1"),
        "before": object_of(table, recorded_fields(cast("Any", entity))),
        "after": object_of(table, entity.identified_by),
    }
    return recording(table, values, those.conditions(table), order)


@cache
def deleting(table: AnyTable, those: Referring) -> sa.Delete:
    return sa.delete(table.table).where(*those.conditions(table))

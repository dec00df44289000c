"""Changes of many entities at once: the database writes them itself, from the rows.

So no change is made in Python, and no values are sent twice. The table says whether this is possible
(`EntityTable.can_record`).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import sqlalchemy as sa

from domain.changes import Action
from domain.journal import recorded_fields
from repositories.changes import COLUMNS, change_subjects, changes
from repositories.engines.json_rows import rows_of
from repositories.engines.statements import Parameters
from repositories.journal import inserting
from repositories.tables.documents import JsonArrayOf, JsonObjectOf, JsonOfText, as_json, literal, text_of
from repositories.tables.many import Table, ids_as_rows
from repositories.units import Writing


async def record(unit: Writing, table: Table[Any], recording: sa.Insert, those: Parameters) -> Sequence[int]:
    """Run a statement of `recording`, and note the subjects of the changes. Returns their numbers."""
    parameters = {**those, "actor": unit.actor, "request_id": unit.request_id, "recorded_at": unit.now}
    seqs = sorted(row[0] for row in await unit.executor.fetch(recording, parameters))
    for reference in table.entity.references if seqs else ():
        naming = naming_subjects(table, reference.field, reference.to.kind)
        await unit.executor.write(naming, {"first": seqs[0], "last": seqs[-1]})
    return seqs


async def record_additions(unit: Writing, table: Table[Any], ids: Sequence[int]) -> int:
    """Write the changes of these new entities, in the order of their ids. Returns the number of the last one."""
    return (await record(unit, table, recording_additions(table, unit.commit_order), ids_as_rows(ids)))[-1]


@cache
def recording_additions(table: Table[Any], order: sa.Select[Any] | None) -> sa.Insert:
    id = table.table.c.id
    fields = dict.fromkeys([*table.entity.identified_by, *recorded_fields(cast("Any", table.entity))])
    values = {"action": Action.CREATED, "version": table.table.c.version, "after": object_of_values(table, [*fields])}
    return recording(table, values, [id.in_(rows_of(id))], order)


def recording(
    table: Table[Any],
    values: Mapping[str, Any],
    those: Sequence[sa.ColumnElement[bool]],
    order: sa.Select[Any] | None,
) -> sa.Insert:
    """The INSERT of a change for each of those rows."""
    entity, columns = table.entity, table.table.c
    row = {
        "kind": literal(entity.kind),
        "entity_id": columns.id,
        "actor": sa.bindparam("actor", type_=changes.c.actor.type),
        "request_id": sa.bindparam("request_id", type_=changes.c.request_id.type),
        "at": sa.bindparam("recorded_at", type_=changes.c.at.type),
        "before": sa.null(),
        "subjects": subjects_of(table) if entity.references else sa.null(),
        **values,
        "action": literal(values["action"]),
    }
    rows = sa.select(*[row[name].label(name) for name in COLUMNS]).where(*those)
    return inserting(rows.order_by(columns.id), order)


@cache
def naming_subjects(table: Table[Any], field: str, kind: str) -> sa.Insert:
    """The INSERT of the subjects of the changes. It finds the changes only by their numbers: no other unit has numbers
    between them. If it compared the kind too, SQLite would read all changes of the kind."""
    written = changes.c.seq.between(sa.bindparam("first"), sa.bindparam("last"))
    rows = sa.select(literal(kind).label("kind"), table.table.c[field], changes.c.seq)
    joined = rows.select_from(changes.join(table.table, changes.c.entity_id == table.table.c.id))
    return sa.insert(change_subjects).from_select(["kind", "id", "seq"], joined.where(written))


def object_of(table: Table[Any], names: Sequence[str]) -> JsonObjectOf:
    """A JSON object of some columns."""
    pairs = [part for name in names for part in (literal(name), as_json(table.table.c[name]))]
    return JsonObjectOf(*pairs)


def object_of_values(table: Table[Any], names: Sequence[str]) -> JsonOfText:
    """A JSON object of those of some columns that have a value."""
    nullable = dict.fromkeys(name for name in names if table.table.c[name].nullable)
    return JsonOfText(text_of(table, names, nullable))


def subjects_of(table: Table[Any]) -> JsonArrayOf:
    """The subjects of the changes as JSON: the entity itself, then all entities that it refers to."""
    named = [(table.entity.kind, "id"), *((each.to.kind, each.field) for each in table.entity.references)]
    return JsonArrayOf(*[JsonArrayOf(literal(kind), table.table.c[field]) for kind, field in named])

"""Changes of many entities at once: the database writes them itself, from the rows.

So no change is made in Python, and no values are sent twice. The table says whether this is possible
(`EntityTable.can_record`).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.sql.functions import FunctionElement

from domain.changes import Action
from domain.journal import recorded_fields
from repositories.changes import COLUMNS, change_subjects, changes
from repositories.engines.functions import spelled
from repositories.engines.json_rows import rows_of
from repositories.engines.statements import Parameters
from repositories.journal import inserting
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
        "kind": sa.literal_column(quoted(entity.kind)),
        "entity_id": columns.id,
        "actor": sa.bindparam("actor", type_=changes.c.actor.type),
        "request_id": sa.bindparam("request_id", type_=changes.c.request_id.type),
        "at": sa.bindparam("recorded_at", type_=changes.c.at.type),
        "before": sa.null(),
        "subjects": subjects_of(table) if entity.references else sa.null(),
        **values,
        "action": sa.literal_column(quoted(values["action"])),
    }
    rows = sa.select(*[row[name].label(name) for name in COLUMNS]).where(*those)
    return inserting(rows.order_by(columns.id), order)


@cache
def naming_subjects(table: Table[Any], field: str, kind: str) -> sa.Insert:
    """The INSERT of the subjects of the changes. It finds the changes only by their numbers: no other unit has numbers
    between them. If it compared the kind too, SQLite would read all changes of the kind."""
    written = changes.c.seq.between(sa.bindparam("first"), sa.bindparam("last"))
    rows = sa.select(sa.literal_column(quoted(kind)).label("kind"), table.table.c[field], changes.c.seq)
    joined = rows.select_from(changes.join(table.table, changes.c.entity_id == table.table.c.id))
    return sa.insert(change_subjects).from_select(["kind", "id", "seq"], joined.where(written))


def object_of(table: Table[Any], names: Sequence[str]) -> "JsonObjectOf":
    """A JSON object of some columns."""
    pairs = [part for name in names for part in (sa.literal_column(quoted(name)), as_json(table.table.c[name]))]
    return JsonObjectOf(*pairs)


def object_of_values(table: Table[Any], names: Sequence[str]) -> "JsonOfText":
    """A JSON object of those of some columns that have a value. It is put together as a text, because a function that
    leaves out members which are null would leave out those of the values too."""
    none = sa.literal_column("''", sa.Text)
    members: sa.ColumnElement[str] = none
    for name in names:
        column = table.table.c[name]
        text = column if isinstance(column.type, sa.JSON) else JsonTextOf(as_json(column))
        member = sa.literal_column(quoted(f',"{name}":')).concat(sa.type_coerce(text, sa.Text))
        members = members.concat(sa.case((column.is_(None), none), else_=member) if column.nullable else member)
    return JsonOfText(sa.literal_column("'{'").concat(sa.func.substr(members, 2)).concat(sa.literal_column("'}'")))


def subjects_of(table: Table[Any]) -> "JsonArrayOf":
    """The subjects of the changes as JSON: the entity itself, then all entities that it refers to."""
    named = [(table.entity.kind, "id"), *((each.to.kind, each.field) for each in table.entity.references)]
    return JsonArrayOf(*[JsonArrayOf(sa.literal_column(quoted(kind)), table.table.c[field]) for kind, field in named])


def as_json(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.DateTime):
        return JsonTime(column)
    return JsonText(column) if isinstance(column.type, sa.JSON) else column


def quoted(name: str) -> str:
    """A name from the code as an SQL literal, so that the statement needs no parameter for it."""
    return "'" + name.replace("'", "''") + "'"


@spelled(sqlite="json_object({})", postgresql="json_build_object({})")
class JsonObjectOf(FunctionElement[Any]):
    """A JSON object of alternating names and values."""

    type = sa.JSON()
    inherit_cache = True


@spelled(sqlite="json_array({})", postgresql="json_build_array({})")
class JsonArrayOf(FunctionElement[Any]):
    """A JSON array of values, some of which may be JSON arrays."""

    type = sa.JSON()
    inherit_cache = True


@spelled(
    sqlite="replace(replace({}, '+00:00', 'Z'), '.000000Z', 'Z')",
    postgresql="""replace(to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')""",
)
class JsonTime(FunctionElement[Any]):
    """A time in the form of the record of changes: RFC 3339, without the fraction if it is zero."""

    inherit_cache = True


@spelled(sqlite="json({})", postgresql="{}")
class JsonText(FunctionElement[Any]):
    """A column that holds JSON, as JSON and not as a string."""

    inherit_cache = True


@spelled(sqlite="json_quote({})", postgresql="CAST(to_json({}) AS TEXT)")
class JsonTextOf(FunctionElement[Any]):
    """A value, as the text of its JSON."""

    inherit_cache = True


@spelled(sqlite="({})", postgresql="CAST({} AS JSON)")
class JsonOfText(FunctionElement[Any]):
    """JSON from its text."""

    type = sa.JSON()
    inherit_cache = True

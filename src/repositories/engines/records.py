"""Records: classes that SQLAlchemy's ORM maps to tables, for the session of a unit of work.

A flush notes in the journal each object that it adds, changes or deletes, if its class names an entity.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.ext.asyncio import AsyncAttrs

from domain.entities import Entity
from domain.errors import Stale
from repositories.engines.schema import JOURNALLED, metadata
from repositories.engines.sessions import CHANGED, SyncSession, UnitConnection


class Record(AsyncAttrs, orm.DeclarativeBase):
    """The base of mapped classes.

    If the objects of a class have change rows, name their entity: a frozen dataclass with kind, id and version. The
    class has an attribute with the same name for each field of the entity. SQLAlchemy counts the version.

    Reading a relationship that was not loaded raises an error, unless the relationship is declared with its own `lazy`.
    """

    metadata = metadata
    __entity__: ClassVar[type[Entity] | None] = None

    @orm.declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
        columns = cls.__table__.columns
        return {"version_id_col": columns["version"]} if cls.__entity__ and "version" in columns else {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__table__" in vars(cls):
            declare_journalled(cls)


def declare_journalled(record: type[Record]) -> None:
    table: Any = record.__table__
    if record.__entity__ is None and JOURNALLED in table.info:
        raise TypeError(f"{record.__name__} maps a table whose writes have change rows: it must name an __entity__.")
    if record.__entity__ is not None and record.__mapper__.version_id_col is None:
        raise TypeError(f"{record.__name__} has an __entity__: its version must be the version_id_col.")
    if record.__entity__ is not None:
        table.info.setdefault(JOURNALLED, "Load the objects, change them one by one, and flush.")


@event.listens_for(Record, "before_mapper_configured", propagate=True)
def raise_by_default(mapper: orm.Mapper[Any], _: type[Record]) -> None:
    """Set `lazy="raise"`. The default of the ORM, loading on access, cannot work in asyncio, and its error is less
    clear."""
    for relationship in mapper.relationships:
        if relationship.lazy == "select":
            relationship.lazy = "raise"
            relationship.strategy_key = (("lazy", "raise"),)


@event.listens_for(Record, "after_insert", propagate=True)
def note_added(_: orm.Mapper[Any], connection: UnitConnection, target: Record) -> None:
    if target.__entity__ is not None:
        connection.journal.added(entity_of(target))


@event.listens_for(Record, "before_update", propagate=True)
def remember_changed(_: orm.Mapper[Any], __: UnitConnection, target: Record) -> None:
    session = session_of(target)
    if target.__entity__ is not None and session.is_modified(target, include_collections=False):
        session.before[sa.inspect(target)] = stored_entity(target, session)


@event.listens_for(Record, "after_update", propagate=True)
def note_saved(_: orm.Mapper[Any], connection: UnitConnection, target: Record) -> None:
    if before := session_of(target).before.get(sa.inspect(target)):
        connection.journal.saved(before, entity_of(target))


@event.listens_for(Record, "before_delete", propagate=True)
def remember_deleted(_: orm.Mapper[Any], __: UnitConnection, target: Record) -> None:
    session = session_of(target)
    if target.__entity__ is not None:
        session.before[sa.inspect(target)] = stored_entity(target, session)


@event.listens_for(Record, "after_delete", propagate=True)
def note_ended(_: orm.Mapper[Any], connection: UnitConnection, target: Record) -> None:
    """Note that the entity ended: the row is removed, the history is kept. Only its store can erase an entity
    (`remove`)."""
    if before := session_of(target).before.get(sa.inspect(target)):
        connection.journal.ended(before)


def session_of(target: Record) -> SyncSession:
    session = orm.object_session(target)
    assert isinstance(session, SyncSession)  # noqa: S101
    return session


def entity_of(target: Record) -> Entity:
    return make(target, {name: getattr(target, name) for name in names_of(target)})


def stored_entity(target: Record, session: SyncSession) -> Entity:
    """The entity as it is stored: from the history of the object's attributes, and from the row where that is not
    known."""
    histories = {name: sa.inspect(target).attrs[name].history for name in names_of(target)}
    known = {name: stored[0] for name, history in histories.items() if (stored := history.deleted or history.unchanged)}
    unknown = [name for name in histories if name not in known]
    return make(target, {**known, **(read(target, unknown, session) if unknown else {})})


def read(target: Record, names: Sequence[str], session: SyncSession) -> Mapping[str, Any]:
    """Read some attributes of an object from its row, because their old values are not known: they were set before they
    were loaded, or were changed in place."""
    state = sa.inspect(target)
    columns = [getattr(type(target), name).label(name) for name in names]
    key = [column == value for column, value in zip(state.mapper.primary_key, state.identity or (), strict=True)]
    row = session.execute(sa.select(*columns).where(*key)).mappings().one_or_none()
    if row is None:
        raise Stale(CHANGED)
    return dict(row)


def names_of(target: Record) -> Sequence[str]:
    assert target.__entity__ is not None  # noqa: S101
    return [each.name for each in fields(target.__entity__)]


def make(target: Record, values: Mapping[str, Any]) -> Entity:
    """An entity with copies of the values, because a value may be changed in place later."""
    assert target.__entity__ is not None  # noqa: S101
    return target.__entity__(**deepcopy(dict(values)))

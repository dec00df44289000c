"""The tables of entities, with the statements of their stores. Each kind declares its table once.

The statements are SQLAlchemy Core, and are composed from the columns once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

import sqlalchemy as sa

from domain.entities import Entity
from domain.journal import recorded_fields
from domain.lists.fields import Fields
from domain.stores import Hidden
from domain.values import copied, fold
from repositories.changes import LAST_CHANGE
from repositories.engines.schema import JOURNALLED, Choice
from repositories.lists.filters import NONE_RELATED, Relationships
from repositories.lists.pages import Listing, page_of
from repositories.locks import Locking
from repositories.tables.rows import maker
from repositories.units import Writing

N = TypeVar("N")
E = TypeVar("E", bound=Entity)


NONE_DERIVED: Final[Mapping[str, sa.ColumnElement[Any]]] = {}

WRITTEN_ALIKE: Final = (sa.Text, sa.Integer, Choice)
"""Types whose values are the same JSON in Python and in both databases. Times and JSON are converted
(`repositories.tables.recording`)."""


def can_record(entity: type[Entity], columns: sa.ColumnCollection[str, sa.Column[Any]]) -> bool:
    """Whether the database can write the changes of these entities itself: with the same JSON as Python, and with no
    subject twice."""
    types = [columns[name].type for name in recorded_fields(cast("Any", entity))]
    are_alike = all(isinstance(each, (*WRITTEN_ALIKE, sa.DateTime, sa.JSON)) for each in types)
    are_distinct = len({each.to.kind for each in entity.references}) == len(entity.references)
    return are_alike and are_distinct and not any(columns[each.field].nullable for each in entity.references)


class EntityTable(Generic[N, E]):
    """The table of one kind of entity, and its statements. An entity is created from an `N`.

    Each field of the entity has a column of its name. If there is also a column `<field>_key`, it has the folded form
    of the field, which is compared instead. Lists are filtered and sorted by `fields`. `save` does not write the
    `unsaved` fields. `related` has the tables of the fields of ids. `derived` are properties of the entity that lists
    can show.
    """

    def __init__(
        self,
        entity: type[E],
        table: sa.Table,
        fields_: Fields,
        *,
        unsaved: Sequence[str] = (),
        related: Relationships = NONE_RELATED,
        derived: Mapping[str, sa.ColumnElement[Any]] = NONE_DERIVED,
    ) -> None:
        names = [each.name for each in fields(cast("Any", entity))]
        singles = [only for only, *others in entity.unique if not others]
        id = table.c.id
        table.info[JOURNALLED] = "Write to it through its store."
        self.entity = entity
        self.table = table
        self.unsaved = unsaved
        self.can_record = can_record(entity, table.c)
        self.json_fields = [each.name for each in fields_.values() if each.is_json]
        self.forms: Mapping[str, Callable[[Any], Any]] = {
            n: fields_[n].form if n in fields_ else fold for n in names if f"{n}_key" in table.c
        }
        self._values = attrgetter(*names)
        self._documents = [place for place, name in enumerate(names) if isinstance(table.c[name].type, sa.JSON)]
        self._names = [name for name in names if name != "id" and name not in unsaved]

        self.shown: sa.ColumnElement[bool] = (
            sa.true() if entity.hidden_since is None else table.c[entity.hidden_since].is_(None)
        )
        self._derived = derived
        self.make = maker(entity)
        self.columns = [table.c[name] for name in names]
        self.behind = (self.shown, id > sa.bindparam("after"))
        self.rows = sa.select(*self.columns)
        self.by_id = page_of(
            self.rows.add_columns(LAST_CHANGE).where(*self.behind).order_by(id).limit(sa.bindparam("limit"))
        )
        keys = {name: self.key(name) for name in fields_ if name not in related}
        listing = partial(Listing, self.columns, keys, related=related, state=LAST_CHANGE)
        self.listings = {
            Hidden.NO: listing(shown=self.shown, unique=[("id",), *entity.unique]),
            Hidden.ONLY: listing(shown=sa.not_(self.shown), unique=[("id",)], indexed=False),
            Hidden.ANY: listing(shown=sa.true(), unique=[("id",)], indexed=False),
        }
        self.get = self.rows.where(id == sa.bindparam("id"))
        self.get_locked = Locking.of(self.get)
        self.get_held = Locking.of(self.get, shared=True)
        self.get_shared = Locking.of(sa.select(self.shown).where(id == sa.bindparam("id")), shared=True)
        self.find = {name: self.rows.where(self.shown, self.key(name) == sa.bindparam("key")) for name in singles}
        hidden = sa.not_(self.shown)
        last = id.desc()
        self.find_hidden = {
            name: self.rows.where(hidden, self.key(name) == sa.bindparam("key")).order_by(last).limit(1)
            for name in singles
        }
        self.find_locked = {name: Locking.of(statement) for name, statement in self.find.items()}
        this = (id == sa.bindparam("saved_id"), table.c.version == sa.bindparam("saved_version"))
        self.insert = sa.insert(table).returning(id)
        self.update = sa.update(table).where(*this).returning(id)
        self.delete = sa.delete(table).where(*this).returning(id)

    def column(self, name: str) -> sa.ColumnElement[Any]:
        """The column of a field, or the expression of a derived one."""
        return self._derived[name] if name in self._derived else self.table.c[name]

    def key(self, name: str) -> sa.Column[Any]:
        """The column by which a field is compared."""
        folded = f"{name}_key"
        return self.table.c[folded if folded in self.table.c else name]

    def key_of(self, name: str, value: str) -> str:
        """A value in the form of that column."""
        return fold(value) if f"{name}_key" in self.table.c else value

    def values_of(self, entity: E) -> dict[str, Any]:
        """The columns that `save` may write."""
        return self.with_keys({name: getattr(entity, name) for name in self._names})

    def differing(self, before: E, entity: E) -> dict[str, Any]:
        """The columns that `save` has to write, because they differ. So it does not update indexes of other columns."""
        pairs = [(name, getattr(before, name), getattr(entity, name)) for name in self._names]
        return self.with_keys(
            {
                name: value
                for name, was, value in pairs
                if value is not was
                and (name in self.json_fields or value != was)  # JSON is compared by `same`, which is slow
            }
        )

    def with_keys(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of columns by name, with the folded forms added."""
        for name, form in self.forms.items():
            if name in values:
                typed = values[name]
                values[f"{name}_key"] = None if typed is None else form(typed)
        return values

    def meet(self, unit: Writing, entity: E) -> E:
        """Note that a unit has locked this row, and remember the entity."""
        unit.locks.locked(entity.kind, entity.id)
        self.know(unit, entity)
        return entity

    def know(self, unit: Writing, entity: E) -> E:
        """Remember a copy of the entity, and return it. It is a copy because callers may change JSON values in
        place."""
        known = entity
        if self._documents:
            values = list(self._values(entity))
            for place in self._documents:
                values[place] = copied(values[place])
            known = self.make(*values)
        unit.known[entity.kind, entity.id] = known
        return known

"""What a store of entities promises. A noun that needs more adds it in a Protocol of its own."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from domain.entities import Entity
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, Page, Position, Sort

N_contra = TypeVar("N_contra", contravariant=True)
E = TypeVar("E", bound=Entity)
E_co = TypeVar("E_co", bound=Entity, covariant=True)


class Identifier(NamedTuple):
    """A unique field and its value: another way to name an entity than its id."""

    field: str
    value: str


Who: TypeAlias = int | Identifier
"""An entity by its id, or by one of its identifiers."""


class Hidden(StrEnum):
    """Which entities a list has: those that are not hidden, only hidden ones, or both."""

    NO = "false"
    ONLY = "true"
    ANY = "any"

    def has(self, entity: Entity) -> bool:
        return self is Hidden.ANY or entity.is_hidden is (self is Hidden.ONLY)


class ReadStore(Protocol[E_co]):
    """A store of entities, to read. An entity is hidden while it is deleted, or if it was revoked."""

    async def get(self, id: int, *, hidden: bool = False) -> E_co:
        """The entity of that id, as last committed or as this unit of work left it.

        Raises `NotFound` if there never was one, if it ended, or if it was erased. Raises `Gone` if it is hidden,
        unless `hidden` asks for hidden ones too. In a writing unit no other unit can change it before this one ends.
        """
        ...

    async def find(self, field: str, value: str) -> E_co:
        """The entity that has this value in a unique field and is not hidden, as `get` gives it. Raises `NotFound`.

        Fields that compare by their folded form are looked up by it.
        """
        ...

    async def find_hidden(self, field: str, value: str) -> E_co:
        """Of the hidden entities with this value in a unique field the last one that was added. Raises `NotFound`."""
        ...

    async def get_many(self, ids: Collection[int]) -> Sequence[E_co]:
        """The entities with these ids, hidden ones too, in the order of their ids. Ids without an entity are left out.
        Otherwise as `get`.

        It takes one statement, whatever their number. All methods for many take a few.
        """
        ...

    async def find_many(self, field: str, values: Collection[str]) -> Mapping[str, E_co]:
        """For each of these values of a unique field the entity that `find` gives, if there is one."""
        ...

    async def list(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Sequence[E_co]:
        """At most `limit` entities that match the filter, in the order of the sort. With hidden ones if asked for.

        The first `skip` are passed over, which takes as long as reading them: for protocols with pages by number.
        With `after`, those that follow this position (`sort.position(entity)`), whether or not an entity still has it.
        Raises `Malformed` if it is not a position of this sort.
        """
        ...

    async def page(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Page[E_co]:
        """The same with the number of the last change of the state that it shows, and whether more follow."""
        ...

    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        """How many entities match the filter. It takes as long as reading them all.

        With `most` it stops counting there, so that number means that many or more.
        """
        ...


class Store(ReadStore[E], Protocol[N_contra, E]):
    """A store of entities within one unit of work. Nothing is kept unless the unit commits.

    A write that is refused ends the unit (see `UnitEnded`).
    """

    async def hold(self, id: int) -> E:
        """An entity that is not hidden, for a unit that refers to it: it stays as it is until this unit ends.

        Other units may hold it too. To change it, `get` it. Raises `NotFound` and `Gone` as that.
        """
        ...

    async def add(self, new: N_contra) -> E:
        """The new entity with an id that was never given out before, at version 1.

        Raises `Conflict` naming a unique field whose value an entity that is not hidden has already; where there are
        several, any of them. Raises `Invalid` at a reference to something that is not there or is hidden.
        """
        ...

    async def save(self, entity: E) -> E:
        """Store a changed entity. Returns it with the next version, and updated now.

        Raises `Stale` unless the stored one is at `entity.version`, `NotFound` if there is none, and `Conflict` and
        `Invalid` as `add`. If the entity becomes hidden, the entities that refer to it are treated as their references
        declare (`Reference.on_delete`). Raises `InUse` if one of them refuses.
        """
        ...

    async def remove(self, entity: E) -> None:
        """Erase the entity, and the values in its changes. Raises `Stale` and `NotFound` as `save`.

        The entities that refer to it, hidden ones too, are treated as their references declare (`Reference.on_purge`).
        """
        ...

    async def end(self, entity: E) -> None:
        """Remove the entity without erasing it: its changes keep their values. Otherwise as `remove`."""
        ...

    async def add_many(self, new: Sequence[N_contra]) -> Sequence[E]:
        """Add all of these, in their order. Raises as `add`. The pointers of `Invalid` begin with a number, from 0."""
        ...

    async def save_many(self, entities: Sequence[E]) -> Sequence[E]:
        """Store these changed entities, each of them once. Raises as `save`, with pointers as `add_many`.

        A unique value cannot go from one of them to another.
        """
        ...

    async def end_many(self, entities: Sequence[E]) -> None:
        """Remove these entities, as `end` does."""
        ...

    async def end_all(self, field: str, value: int) -> int:
        """End all entities with this value in a reference, and what refers to them. Returns how many there were.

        If nothing can refer to this kind, that takes three statements, whatever their number.
        """
        ...

"""The interface of all stores of entities. A kind that needs more methods adds them in a Protocol of its own."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from domain.entities import Entity
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, JsonPage, Page, Position, Sort
from domain.lists.projections import Projection

N_contra = TypeVar("N_contra", contravariant=True)
E = TypeVar("E", bound=Entity)
E_co = TypeVar("E_co", bound=Entity, covariant=True)


class Identifier(NamedTuple):
    """A unique field and its value, which identify an entity like its id."""

    field: str
    value: str


Who: TypeAlias = int | Identifier
"""An entity, given by its id or by one of its identifiers."""


class Hidden(StrEnum):
    """Which entities a list contains: those that are not hidden, only hidden ones, or both."""

    NO = "false"
    ONLY = "true"
    ANY = "any"

    def has(self, entity: Entity) -> bool:
        return self is Hidden.ANY or entity.is_hidden is (self is Hidden.ONLY)


class ReadStore(Protocol[E_co]):
    """A store of entities, for reading. An entity is hidden while it is deleted, or when it was revoked."""

    async def get(self, id: int, *, hidden: bool = False) -> E_co:
        """The entity of that id, as last committed or as this unit of work left it.

        Raises `NotFound` if there was never such an entity, if it ended, or if it was erased. Raises `Gone` if it is
        hidden, unless `hidden` is true. In a writing unit no other unit can change it before this one ends.
        """
        ...

    async def find(self, field: str, value: str) -> E_co:
        """The entity that has this value in a unique field and is not hidden, as with `get`. Raises `NotFound`.

        If the field compares by its folded form, that form is looked up.
        """
        ...

    async def find_hidden(self, field: str, value: str) -> E_co:
        """The newest hidden entity that has this value in a unique field. Raises `NotFound`."""
        ...

    async def get_many(self, ids: Collection[int]) -> Sequence[E_co]:
        """The entities with these ids, including hidden ones, in the order of their ids. Otherwise as `get`.

        Ids without an entity are left out. It takes one statement. The other methods for many entities take a few.
        """
        ...

    async def find_many(self, field: str, values: Collection[str]) -> Mapping[str, E_co]:
        """For each of these values of a unique field the entity that `find` would return, if there is one."""
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
        """At most `limit` entities that match the filter, in the order of the sort.

        The first `skip` entities are skipped, which takes as long as reading them. This is for protocols with numbered
        pages. With `after`, the list begins after this position (`sort.position(entity)`), even if that entity is gone.
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
        """The same as a page, which says whether more entities follow, and which changes it shows."""
        ...

    async def page_as_json(
        self,
        projection: Projection[Any],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        """The same as JSON: of each entity the fields of the projection.

        Stores in SQL let the database write it. So no value is decoded, and a long list costs a fraction of a page of
        entities.
        """
        ...

    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        """How many entities match the filter. It takes as long as reading them all.

        With `most` it stops counting there. Then the result `most` means that many or more.
        """
        ...


class Store(ReadStore[E], Protocol[N_contra, E]):
    """A store of entities within one unit of work. Nothing is stored unless the unit commits.

    A refused write ends the unit (see `UnitEnded`).
    """

    async def hold(self, id: int) -> E:
        """An entity that this unit only refers to. It cannot change until the unit ends.

        Other units may hold it at the same time. To change an entity, use `get`. Raises `NotFound` and `Gone` as `get`.
        """
        ...

    async def add(self, new: N_contra) -> E:
        """Add an entity. Returns it with a new id, which was never used before, and version 1.

        Raises `Conflict` if an entity that is not hidden has the same value in a unique field. Raises `Invalid` if a
        reference is to an entity that does not exist or is hidden.
        """
        ...

    async def save(self, entity: E) -> E:
        """Store a changed entity. Returns it with the next version and with the present time as `updated_at`.

        Raises `Stale` if the stored version is not `entity.version`, `NotFound` if there is no such entity, and
        `Conflict` and `Invalid` as `add`. If the entity becomes hidden, what happens to entities that refer to it is
        declared by their references (`Reference.on_delete`). Raises `InUse` if one of them does not allow it.
        """
        ...

    async def remove(self, entity: E) -> None:
        """Erase the entity and the values in its changes. Raises `Stale` and `NotFound` as `save`.

        What happens to entities that refer to it, including hidden ones, is declared by their references
        (`Reference.on_purge`). Raises `InUse` if one of them does not allow it.
        """
        ...

    async def end(self, entity: E) -> None:
        """Remove the entity without erasing it: its changes keep their values. Otherwise like `remove`."""
        ...

    async def add_many(self, new: Sequence[N_contra]) -> Sequence[E]:
        """Add these entities, in their order. Raises what `add` raises. Pointers of `Invalid` begin with the index,
        from 0."""
        ...

    async def save_many(self, entities: Sequence[E]) -> Sequence[E]:
        """Store these changed entities, each at most once. Raises what `save` raises, with pointers as in `add_many`.

        A unique value cannot move from one of these entities to another one.
        """
        ...

    async def end_many(self, entities: Sequence[E]) -> None:
        """End these entities, as `end` does."""
        ...

    async def end_all(self, field: str, value: int) -> int:
        """End all entities that have this value in a reference. Returns how many there were.

        If no kind refers to this kind, it takes three statements, however many entities there are.
        """
        ...

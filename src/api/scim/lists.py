"""Lists and searches (RFC 7644, sections 3.4.2 and 3.4.3), in pages by index or by cursor (RFC 9865)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from api.scim.answers import listed
from api.scim.errors import Refused, invalid_path, invalid_syntax, invalid_value
from api.scim.schemas.resources import MESSAGE, ResourceType, Steps
from api.scim.shown import Projection
from api.scim.syntax.strictness import NamesAmongOthers, parse
from api.scim.values import object_of, require_schemas
from api.web.cursors import read_cursor, write_cursor
from domain.errors import Malformed
from domain.lists.fields import Field, Key
from domain.lists.filters import Filter
from domain.lists.grammar import Names
from domain.lists.pages import BY_ID, DEFAULT_LIMIT, MAX_LIMIT, Order, Page, Position, Sort, sort_by
from domain.values import MAX_INTEGER

SEARCH: Final = f"{MESSAGE}SearchRequest"
MAX_REACH: Final = 10_000
"""The last item that a page of a sorted list of several resource types can reach, because all items before it are
read."""

ORDERS: Final = {"ascending": False, "descending": True}


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a list. With a cursor, which is empty for the first page, `start` is ignored."""

    filter: str | None
    sort_by: str | None
    descending: bool
    start: int
    count: int
    cursor: str | None
    attributes: Sequence[str]
    excluded: Sequence[str]
    strict: bool

    @classmethod
    def of(cls, given: Mapping[str, Any], *, strict: bool) -> "Query":
        """Read the parameters of a URL, or the body of a search. Unknown ones are ignored. Raises `Refused`."""
        members = {name.lower(): value for name, value in given.items()}
        cursor = text_in(members, "cursor")
        order = text_in(members, "sortOrder") or "ascending"
        if order.lower() not in ORDERS:
            raise invalid_value("sortOrder is ascending or descending.")
        if strict and members.get("attributes") and members.get("excludedattributes"):
            raise invalid_syntax("attributes and excludedAttributes exclude each other.")
        return cls(
            filter=text_in(members, "filter"),
            sort_by=text_in(members, "sortBy"),
            descending=ORDERS[order.lower()],
            start=max(1, number_in(members, "startIndex", 1)),
            count=count_in(members, by_cursor=cursor is not None),
            cursor=cursor,
            attributes=names_in(members, "attributes"),
            excluded=names_in(members, "excludedAttributes"),
            strict=strict,
        )

    @classmethod
    def of_search(cls, body: object, *, strict: bool) -> "Query":
        members = object_of(body)
        if strict:
            require_schemas(members, SEARCH)
        return cls.of(members, strict=strict)


def text_in(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name.lower())
    if value is not None and not isinstance(value, str):
        raise invalid_value(f"{name} must be a string.")
    return value


def number_in(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name.lower())
    if value is None or value == "":
        return default
    try:
        number = int(value) if isinstance(value, str) and len(value) <= len(str(MAX_INTEGER)) + 1 else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool):
        raise invalid_value(f"{name} must be an integer.")
    return max(-MAX_INTEGER, min(number, MAX_INTEGER))


def count_in(given: Mapping[str, Any], *, by_cursor: bool) -> int:
    """The number of wanted resources, from 0 to `MAX_LIMIT`. A negative number counts as 0, which asks only for the
    total."""
    try:
        count = number_in(given, "count", DEFAULT_LIMIT)
    except Refused as refused:
        raise Refused(refused.detail, "invalidCount" if by_cursor else "invalidValue") from None
    return max(0, min(count, MAX_LIMIT))


def names_in(given: Mapping[str, Any], name: str) -> Sequence[str]:
    """Names: in a URL they are separated by commas, in a body they are an array."""
    value = given.get(name.lower()) or ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise invalid_syntax(f"{name} must be names of attributes.")
    return [each.strip() for each in value if each.strip()]


class Entity(Protocol):
    @property
    def id(self) -> int: ...


class Lister(Protocol):
    """A service with lists."""

    def list(
        self, *, filter: Filter | None, sort: Sort, after: Position | None = None, skip: int = 0, limit: int
    ) -> Awaitable[Page[Any]]: ...
    def count(self, filter: Filter | None) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """What lists of one resource type need: the names in filters, the fields to sort by, a service, and how to show a
    resource."""

    type: ResourceType
    names: Names
    sorts: Callable[[Steps], Field | None]
    service: Lister
    show: Callable[[Sequence[Any], Projection], Awaitable[list[Mapping[str, Any]]]]

    def filter(self, query: Query, others: Sequence[ResourceType]) -> Filter | None:
        """The filter, in a list that may have resources of other types too."""
        if query.filter is None:
            return None
        names = NamesAmongOthers(self.names, others) if others else self.names
        return parse(query.filter, names, strict=query.strict and not others)

    def sort(self, query: Query) -> Sort | None:
        """The sort; None for an attribute by which lists of this type cannot be sorted."""
        if not query.sort_by:
            return BY_ID
        steps = self.type.steps_to(query.sort_by.strip())
        field = None if steps is None else self.sorts(steps)
        return None if field is None else sort_by([Order(field, descending=query.descending)])

    def projection(self, query: Query) -> Projection:
        return Projection.of(query.attributes, query.excluded, self.type)


@dataclass(slots=True)
class Source:
    """One resource type in a list."""

    of: Listed
    filter: Filter | None
    sort: Sort
    projection: Projection
    list_id: str
    """Identifies the list of a cursor."""

    async def page(self, limit: int, *, after: Position | None = None, skip: int = 0) -> Page[Any]:
        return await self.of.service.list(filter=self.filter, sort=self.sort, after=after, skip=skip, limit=limit)

    async def total(self) -> int:
        return await self.of.service.count(self.filter)

    async def shown(self, page: Page[Any]) -> list[Mapping[str, Any]]:
        return await self.of.show(page.items, self.projection)

    def cursor(self, position: Position) -> str:
        return write_cursor(position, self.list_id)

    def key_of(self, entity: Any) -> Key | None:
        """The value by which an entity is sorted; None if its type has no such attribute."""
        return None if self.sort is BY_ID else self.sort.keys_of(entity)[0]


def parts_of(query: Query, path: str, types: Sequence[Listed]) -> Sequence[Source]:
    parts = []
    sorts = [each.sort(query) for each in types]
    if not any(sorts):
        raise invalid_path("Lists are not sorted by this.")
    for each, sort in zip(types, sorts, strict=True):
        list_id = f"{path}?{each.type.name}&{query.filter}&{query.sort_by}&{query.descending}"
        others = [other.type for other in types if other is not each]
        parts.append(Source(each, each.filter(query, others), sort or BY_ID, each.projection(query), list_id))
    return parts


async def answer_query(query: Query, path: str, types: Sequence[Listed]) -> dict[str, Any]:
    """The body of the answer. Without a sort, the resources of one type follow those of the other."""
    parts = parts_of(query, path, types)
    if query.sort_by and len(parts) > 1:
        return await in_one_order(query, parts)
    if query.cursor is not None:
        return await by_cursor(query, query.cursor, parts)
    return await by_index(query, parts)


async def by_index(query: Query, parts: Sequence[Source]) -> dict[str, Any]:
    resources: list[Mapping[str, Any]] = []
    total = 0
    for part in parts:
        skip, wanted = max(0, query.start - 1 - total), query.count - len(resources)
        page = await part.page(wanted, skip=skip) if wanted else None
        total += await total_of(part, page, skip)
        if page is not None:
            resources += await part.shown(page)
    return listed(resources, total, startIndex=query.start)


async def in_one_order(query: Query, parts: Sequence[Source]) -> dict[str, Any]:
    """A page by index with resources of several types, sorted by an attribute. Resources without it come last."""
    if query.cursor is not None:
        raise invalid_path("Pages by cursor are sorted in lists of one resource type only.")
    end = query.start - 1 + query.count
    if end > MAX_REACH:
        raise Refused(f"Sorted lists of several resource types end after {MAX_REACH} resources.", "tooMany")
    found = [
        (part.key_of(entity), number, entity)
        for number, part in enumerate(parts)
        for entity in (await part.page(end) if query.count else ())
    ]
    found.sort(key=lambda each: (each[0] is None, 0 if each[0] is None else each[0]), reverse=query.descending)
    chosen = found[query.start - 1 :][: query.count]
    shown = [
        iter(await part.of.show([entity for _, of, entity in chosen if of == number], part.projection))
        for number, part in enumerate(parts)
    ]
    resources = [next(shown[number]) for _, number, _ in chosen]
    return listed(resources, sum([await part.total() for part in parts]), startIndex=query.start)


async def total_of(part: Source, page: Page[Any] | None, skip: int) -> int:
    """The number of matches. If the page is the last one, it is known without counting."""
    if page is not None and not page.more and (page.items or not skip):
        return skip + len(page.items)
    return await part.total()


async def by_cursor(query: Query, cursor: str, parts: Sequence[Source]) -> dict[str, Any]:
    first, after = position_in(cursor, parts)
    resources: list[Mapping[str, Any]] = []
    following = None
    totals = [await part.total() for part in parts]
    if not query.count:
        return listed([], sum(totals))
    for number, part in enumerate(parts[first:], first):
        page = await part.page(query.count - len(resources), after=after)
        resources += await part.shown(page)
        last = part.sort.position(page.items[-1]) if page.items else after
        if page.more or (len(resources) == query.count and any(totals[number + 1 :])):
            following = part.cursor(last) if last is not None else None
            break
        after = None
    more = {} if following is None else {"nextCursor": following}
    return listed(resources, sum(totals), **more)


def position_in(cursor: str, parts: Sequence[Source]) -> tuple[int, Position | None]:
    """The part and the position at which a cursor continues."""
    if not cursor:
        return 0, None
    for number, part in enumerate(parts):
        try:
            return number, read_cursor(cursor, part.list_id, part.sort)
        except Malformed:
            continue
    raise Refused("The cursor is not one of this list.", "invalidCursor")

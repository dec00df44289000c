"""What lists have in common: their parameters and answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, Generic, Literal, Protocol, TypeVar
from urllib.parse import urlencode

from fastapi import Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from pydantic_core import to_json

from api.web.cursors import MAX_LENGTH, read_cursor, write_cursor
from api.web.dependencies import container_of
from api.web.entities import Shown, Versioned
from api.web.requests import PlainInteger
from api.web.responses import EVERY_FIELD, documented_headers, fields_asked_for, link_to_next
from api.web.streams import CSV, FEW, JSON, NDJSON, VARY, Body, media_type_for, stream
from domain import grammar
from domain.fields import Fields
from domain.filters import Filter, equal, every
from domain.grammar import parse_filter
from domain.pages import BY_ID, DEFAULT_LIMIT, MAX_LIMIT, MAX_SORTS, Page, Position, Sort, parse_sort
from domain.stores import Hidden

T = TypeVar("T")
E = TypeVar("E", bound=Versioned)

Limit = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT),
    PlainInteger,
    Query(description="How many at most; fewer if they are long", examples=[100]),
]
Cursor = Annotated[
    str | None,
    Query(
        description="From the Link header of the page before, as it is",
        max_length=MAX_LENGTH,
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
        examples=[write_cursor((100,), "/users?")],
    ),
]
Count = Annotated[
    bool,
    Query(description="Give the number of matches in X-Total-Count. It takes as long as reading them", examples=[True]),
]
Accept = Annotated[
    Sequence[str],
    Header(include_in_schema=False),  # OpenAPI derives it from the content of the answers
]

Deleted = Annotated[
    Hidden,
    Query(alias="deleted", description="Also deleted items (`any`), or only those (`true`)", examples=["any"]),
]
Formulas = Annotated[
    Literal["escape", "keep"],
    Query(
        description="In CSV: `escape` puts an apostrophe before what a spreadsheet would run as a formula, "
        "`keep` leaves every value as it is. Programs read NDJSON, which has no such question",
        examples=["keep"],
    ),
]


def filter_query(fields: Fields, example: str) -> Any:
    """The parameter that `narrowed` reads: an expression on these fields."""
    json_fields = [each.name for each in fields.values() if each.is_json]
    paths = (
        f"A member of {name} is named by its path, `{name}.department`, "
        f'an element of an array by brackets, `{name}.phones[type eq "work"]`. '
        for name in json_fields
    )
    return Query(
        alias="filter",
        description="Only what matches this expression, in the language of SCIM (RFC 7644, section 3.4.2.2): "
        f"`eq ne co sw ew gt ge lt le pr`, `and or not` and brackets. Fields are {', '.join(fields)}. {''.join(paths)}"
        f"At most {grammar.MAX_LENGTH} characters, {grammar.MAX_TERMS} comparisons and "
        f"{grammar.MAX_DEPTH} brackets within each other. An invalid filter gets a 400 with the position of the error",
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": grammar.MAX_LENGTH},  # the grammar refuses more
    )


def sort_query(fields: Fields, example: str) -> Any:
    """The parameter that `sorted_by` reads."""
    return Query(
        alias="sort",
        description=f"Up to {MAX_SORTS} fields, `-` before one to sort downwards. Items without a value come last, "
        "or first downwards. Ids break ties. "
        f"Fields are {', '.join(each.name for each in fields.values() if each.sorts)}",
        examples=[example],
        json_schema_extra={"minLength": 1},
    )


LISTED: Final[dict[str, Any]] = {
    "content": {
        NDJSON: {"schema": {"type": "string"}, "example": '{"id":1,"name":"Alice"}\n{"id":2,"name":"Bob"}\n'},
        CSV: {"schema": {"type": "string"}, "example": "id,name\r\n1,Alice\r\n2,Bob\r\n"},
    },
    **documented_headers(
        Link='The next page, with rel="next", while there is more. Not with a stream',
        X_Total_Count="With count: how many match",
        Roster_Seq="The state that this shows: a mirror that begins with it follows /changes/ from this number on",
        Vary="What the answer depends on",
    ),
}

PAGING: Final = ("cursor", "limit", "count")
SHOWING: Final = ("fields", "formulas")


def narrowed(fields: Fields, expression: str | None, **keys: str | int | None) -> Filter | None:
    """The filter of an expression and of the shorthand parameters together. Raises `Malformed` with the position."""
    filters = [equal(fields[name], value) for name, value in keys.items() if value is not None]
    return every([*filters, parse_filter(expression, fields) if expression is not None else None])


def sorted_by(fields: Fields, sort: str | None) -> Sort:
    return BY_ID if sort is None else parse_sort(sort, fields)


def position_in(request: Request, cursor: str | None, sort: Sort) -> Position | None:
    return None if cursor is None else read_cursor(cursor, list_of(request), sort)


@dataclass(frozen=True, slots=True)
class Written:
    """A page as JSON, and the position of its last item if more follow."""

    parts: Sequence[bytes]
    position: Position | None
    seq: int | None

    def answer(self, request: Request, total: int | None) -> Response:
        headers = dict(VARY) if total is None else {**VARY, "X-Total-Count": str(total)}
        if self.seq is not None:
            headers["Roster-Seq"] = str(self.seq)
        if self.position is not None:
            headers.update(link_to_next(request, cursor=write_cursor(self.position, list_of(request))))
        return Response(b"[" + b",".join(self.parts) + b"]", headers=headers, media_type=JSON)


def listed(request: Request, page: Page[T], show: Callable[[T], Body], sort: Sort, total: int | None) -> Response:
    position = sort.position(page.items[-1]) if page.more else None
    return Written([as_json(page.items, show)], position, page.seq).answer(request, total)


def as_json(items: Sequence[T], show: Callable[[T], Body]) -> bytes:
    """The items of a JSON array, without its brackets."""
    return to_json([show(item) for item in items])[1:-1]


async def written_page(
    read: Callable[[Position | None, int], Awaitable[Page[T]]],
    show: Callable[[T], Body],
    sort: Sort,
    *,
    after: Position | None,
    limit: int,
    most_bytes: int,
) -> Written:
    """Read a page and write it, in steps. It ends early when it has so many bytes.

    It has the number of the state of its first step: who follows the changes from there misses none.
    """
    page = await read(after, min(limit, FEW))
    seq, parts = page.seq, [as_json(page.items, show)]
    size, left = len(parts[0]), limit - len(page.items)
    while page.more and left and size < most_bytes:
        page = await read(sort.position(page.items[-1]), min(left, FEW))
        if not page.items:
            break
        parts.append(as_json(page.items, show))
        size, left = size + len(parts[-1]), left - len(page.items)
    return Written(parts, sort.position(page.items[-1]) if page.more else None, seq)


def list_of(request: Request) -> str:
    """What identifies the list of a cursor: path, filter and sort, but not the page size or the fields."""
    parts = {name: value for name, value in request.query_params.items() if name not in (*PAGING, *SHOWING)}
    return f"{request.scope['path'].rstrip('/')}?{urlencode(sorted(parts.items()))}"


def refuse_parameters(request: Request, names: Sequence[str], detail: str) -> None:
    """Refuse parameters that have no meaning beside others, and would be ignored."""
    if asked := [name for name in names if name in request.query_params]:
        raise RequestValidationError(
            [{"type": "literal_error", "loc": ("query", name), "msg": detail} for name in asked]
        )


class Lister(Protocol[E]):
    """A service whose list can be asked for in pages, as a whole, and counted."""

    def list(
        self, *, filter: Filter | None, sort: Sort, hidden: Hidden, after: Position | None, limit: int
    ) -> Awaitable[Page[E]]: ...
    def export(self, *, filter: Filter | None, sort: Sort, hidden: Hidden) -> AsyncGenerator[Page[E]]: ...
    def count(self, filter: Filter | None, *, hidden: Hidden) -> Awaitable[int]: ...


async def answer_list(
    request: Request,
    service: Lister[E],
    shown: Shown[E],
    *,
    filter: Filter | None,
    sort: Sort,
    limit: int,
    cursor: str | None,
    fields: str | None,
    count: bool,
    accept: Sequence[str],
    hidden: Hidden = Hidden.NO,
    formulas: str = "escape",
) -> Response:
    """A page of a list, or the whole list as a stream, as the Accept header prefers."""
    show = shown.by(fields)
    if (media_type := media_type_for(accept)) != JSON:
        refuse_parameters(request, PAGING, f"Not with {media_type}, which streams the whole list.")
        columns = fields_asked_for(fields or EVERY_FIELD, shown.names)
        show = shown.by(fields or EVERY_FIELD) if media_type == CSV else show
        pages = service.export(filter=filter, sort=sort, hidden=hidden)
        return await stream(request, media_type, pages, show, columns, keeps_formulas=formulas == "keep")

    def read(after: Position | None, limit: int) -> Awaitable[Page[E]]:
        return service.list(filter=filter, sort=sort, hidden=hidden, after=after, limit=limit)

    after, most_bytes = position_in(request, cursor, sort), container_of(request).settings().limits.page_bytes
    page = await written_page(read, show, sort, after=after, limit=limit, most_bytes=most_bytes)
    total = await service.count(filter, hidden=hidden) if count else None
    return page.answer(request, total)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest(Generic[E]):
    """What a request asks of a list, by the parameters that all lists have."""

    request: Request
    shown: Shown[E]
    searched: Fields
    limit: int
    cursor: str | None
    filter: str | None
    sort: str | None
    deleted: Hidden
    fields: str | None
    count: bool
    formulas: str
    accept: Sequence[str]

    async def answer(self, service: Lister[E], **keys: str | int | None) -> Response:
        """As `answer_list`. `keys` are values of fields, from shorthand parameters; None does not count."""
        return await answer_list(
            self.request,
            service,
            self.shown,
            filter=narrowed(self.searched, self.filter, **keys),
            sort=sorted_by(self.searched, self.sort),
            limit=self.limit,
            cursor=self.cursor,
            fields=self.fields,
            count=self.count,
            accept=self.accept,
            hidden=self.deleted,
            formulas=self.formulas,
        )


def lists(
    shown: Shown[E], searched: Fields, *, filter: str, sort: str
) -> Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]:
    """An endpoint that lists: in place of `asked`, a `ListRequest`, it has the parameters that all lists have.

    Filters and sorts name the `searched` fields. `filter` and `sort` are examples. As a dependency of its own the
    `ListRequest` would take a thirtieth of a list's CPU.
    """

    def parameters(
        *,
        request: Request,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        filter: Annotated[str | None, filter_query(searched, filter)] = None,
        sort: Annotated[str | None, sort_query(searched, sort)] = None,
        deleted: Deleted = Hidden.NO,
        fields: Annotated[str | None, shown.query] = None,
        count: Count = False,
        formulas: Formulas = "escape",
        accept: Accept = ("*/*",),
    ) -> None: ...

    common = signature(parameters).parameters

    def declare(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        @wraps(endpoint)
        async def ask(**given: Any) -> Response:
            asked = {name: given.pop(name, each.default) for name, each in common.items()}  # not all are sent
            return await endpoint(asked=ListRequest(shown=shown, searched=searched, **asked), **given)

        own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in signature(endpoint).parameters.values()]
        both = (*common.values(), *(each for each in own if each.name != "asked"))
        ask.__signature__ = Signature(both)  # type: ignore[attr-defined]  # what FastAPI reads
        return ask

    return declare

"""What all lists share: their parameters and their answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json

from api.web.cursors import read_cursor_with_seq, write_cursor
from api.web.dependencies import container_of
from api.web.entities import Shown, Versioned
from api.web.parameters import Accept, Count, Cursor, Deleted, Formulas, Limit, filter_query, sort_query
from api.web.responses import EVERY_FIELD, Service, documented_headers, fields_asked_for, link_to_next
from api.web.streams import CSV, FEW, JSON, NDJSON, VARY, Body, media_type_for, stream
from domain.lists.fields import Fields
from domain.lists.filters import Filter, equal, every
from domain.lists.pages import BY_ID, DEFAULT_LIMIT, JsonPage, Page, Position, Sort, parse_sort
from domain.lists.projections import Projection
from domain.lists.terms import parse_filter
from domain.stores import Hidden

T = TypeVar("T")
E = TypeVar("E", bound=Versioned)

LISTED: Final[dict[str, Any]] = {
    "content": {
        NDJSON: {"schema": {"type": "string"}, "example": '{"id":1,"name":"Alice"}\n{"id":2,"name":"Bob"}\n'},
        CSV: {"schema": {"type": "string"}, "example": "id,name\r\n1,Alice\r\n2,Bob\r\n"},
    },
    **documented_headers(
        Link='The next page, with rel="next", if there is one. Not with a stream',
        X_Total_Count="With `count`: the number of matches",
        Roster_Seq=(
            "The list shows all changes up to this number, and perhaps later ones. A mirror that begins with this "
            "list follows /changes/ from this number"
        ),
        Vary="The request headers on which the answer depends",
    ),
}

PAGING: Final = ("cursor", "limit", "count")
SHOWING: Final = ("fields", "formulas")


def narrowed(fields: Fields, expression: str | None, **keys: str | int | None) -> Filter | None:
    """A filter that combines the expression and the shorthand parameters. Raises `Malformed` with the position."""
    filters = [equal(fields[name], value) for name, value in keys.items() if value is not None]
    return every([*filters, parse_filter(expression, fields) if expression is not None else None])


def sorted_by(fields: Fields, sort: str | None) -> Sort:
    return BY_ID if sort is None else parse_sort(sort, fields)


def position_in(request: Request, service: Service, cursor: str | None, sort: Sort) -> Position | None:
    """The position in a cursor. The service will not read an older state than that of the page before."""
    if cursor is None:
        return None
    position, seq = read_cursor_with_seq(cursor, list_of(request), sort)
    service.context.require_seq(seq or 0)
    return position


@dataclass(frozen=True, slots=True)
class Written:
    """A page as JSON, and the position of its last item if more items follow."""

    parts: Sequence[bytes]
    position: Position | None
    seq: int | None

    def answer(self, request: Request, service: Service, total: int | None) -> Response:
        headers = dict(VARY) if total is None else {**VARY, "X-Total-Count": str(total)}
        if self.seq is not None:
            headers["Roster-Seq"] = str(self.seq)
        if self.position is not None:
            seq = None if service.context.seen is None else self.seq
            headers.update(link_to_next(request, cursor=write_cursor(self.position, list_of(request), seq)))
        return Response(b"[" + b",".join(self.parts) + b"]", headers=headers, media_type=JSON)


def listed(request: Request, service: Service, page: Page[T], show: Callable[[T], Body], sort: Sort) -> Response:
    position = sort.position(page.items[-1]) if page.more else None
    part = to_json([show(item) for item in page.items])[1:-1]
    return Written([part], position, page.seq).answer(request, service, total=None)


async def written_page(
    read: Callable[[Position | None, int], Awaitable[JsonPage]],
    *,
    after: Position | None,
    limit: int,
    most_bytes: int,
) -> Written:
    """Read a page in steps. It ends early when it has `most_bytes`.

    Its `seq` is the number of its first step, so a client that follows the changes from there misses none.
    """
    page = await read(after, min(limit, FEW))
    seq, parts = page.seq, [",".join(page.items).encode()]
    size, left = len(parts[0]), limit - len(page.items)
    while page.end is not None and left and size < most_bytes:
        page = await read(page.end, min(left, FEW))
        if not page.items:
            break
        parts.append(",".join(page.items).encode())
        size, left = size + len(parts[-1]), left - len(page.items)
    return Written(parts, page.end, seq)


def list_of(request: Request) -> str:
    """What identifies the list of a cursor: path, filter and sort, but not the size of a page or the fields."""
    parts = {name: value for name, value in request.query_params.items() if name not in (*PAGING, *SHOWING)}
    return f"{request.scope['path'].rstrip('/')}?{urlencode(sorted(parts.items()))}"


def refuse_parameters(request: Request, names: Sequence[str], detail: str) -> None:
    """Refuse parameters that have no meaning in combination with others, so that they are not ignored."""
    if asked := [name for name in names if name in request.query_params]:
        raise RequestValidationError(
            [{"type": "literal_error", "loc": ("query", name), "msg": detail} for name in asked]
        )


class Lister(Service, Protocol):
    """A service with a list in pages, as a stream, and a count."""

    def list_as_json(
        self,
        projection: Projection[Any],
        *,
        filter: Filter | None,
        sort: Sort,
        hidden: Hidden,
        after: Position | None,
        limit: int,
    ) -> Awaitable[JsonPage]: ...
    def export(
        self, projection: Projection[Any], *, filter: Filter | None, sort: Sort, hidden: Hidden
    ) -> AsyncGenerator[JsonPage]: ...
    def count(self, filter: Filter | None, *, hidden: Hidden) -> Awaitable[int]: ...


async def answer_list(
    request: Request,
    service: Lister,
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
    """A page of a list, or the whole list as a stream, depending on the Accept header."""
    projection = shown.by(fields)
    if (media_type := media_type_for(accept)) != JSON:
        refuse_parameters(request, PAGING, f"Not with {media_type}, which streams the whole list.")
        columns = fields_asked_for(fields or EVERY_FIELD, shown.names)
        if media_type == CSV:
            projection = shown.by(fields or EVERY_FIELD)
        pages = service.export(projection, filter=filter, sort=sort, hidden=hidden)
        return await stream(request, media_type, pages, columns, keeps_formulas=formulas == "keep")

    async def read(after: Position | None, limit: int) -> JsonPage:
        page = await service.list_as_json(projection, filter=filter, sort=sort, hidden=hidden, after=after, limit=limit)
        service.context.require_seq(page.seq or 0)  # for later reads of this request
        return page

    after, most_bytes = position_in(request, service, cursor, sort), container_of(request).settings().limits.page_bytes
    page = await written_page(read, after=after, limit=limit, most_bytes=most_bytes)
    total = await service.count(filter, hidden=hidden) if count else None
    return page.answer(request, service, total)


@dataclass(slots=True, kw_only=True)
class ListRequest(Generic[E]):
    """The values of the parameters that all lists have. The class is not frozen, because that takes time."""

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

    async def answer(self, service: Lister, **keys: str | int | None) -> Response:
        """The answer, as from `answer_list`. `keys` are values of shorthand parameters, by field. None means that it
        was not sent."""
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
    """Decorates an endpoint that lists. Its parameter `asked`, a `ListRequest`, is replaced by the parameters of all
    lists.

    Filters and sorts use the `searched` fields. `filter` and `sort` are examples. If `ListRequest` were a dependency,
    it would take 3 % of the CPU of a list.
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
    defaults = [(name, each.default) for name, each in common.items()]

    def declare(endpoint: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        @wraps(endpoint)
        async def ask(**given: Any) -> Response:
            asked = {name: given.pop(name, default) for name, default in defaults}  # not all of them are sent
            return await endpoint(asked=ListRequest(shown=shown, searched=searched, **asked), **given)

        own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in signature(endpoint).parameters.values()]
        both = (*common.values(), *(each for each in own if each.name != "asked"))
        ask.__signature__ = Signature(both)  # type: ignore[attr-defined]  # FastAPI reads this
        return ask

    return declare

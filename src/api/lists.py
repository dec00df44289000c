"""What lists have in common: which parameters they take, and what these mean."""

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from api.answers import documented_headers, json_answer, link_to_next
from api.cursors import MAX_LENGTH, read_cursor, write_cursor
from api.routing import PlainInteger
from api.streams import CSV, JSON, NDJSON, Shown
from domain import grammar
from domain.fields import Fields
from domain.filters import Filter, equal, every
from domain.grammar import parse_filter
from domain.pages import BY_ID, MAX_LIMIT, MAX_SORTS, Page, Position, Sort, parse_sort

T = TypeVar("T")

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), PlainInteger, Query(description="How many at the most")]
Cursor = Annotated[
    str | None, Query(description="From the Link header of the page before, as it is", max_length=MAX_LENGTH)
]
FilterText = Annotated[
    str | None,
    Query(
        alias="filter",
        description="Only what matches this expression, in the language of SCIM (RFC 7644, section 3.4.2.2): "
        "`eq ne co sw ew gt ge lt le pr`, `and or not` and brackets. An attribute is named by its path, "
        f"`attributes.department`. At most {grammar.MAX_LENGTH} characters and {grammar.MAX_TERMS} terms",
        examples=['status eq "active" and email ew "@example.org"'],
    ),
]
SortText = Annotated[
    str | None,
    Query(
        alias="sort",
        description=f"Up to {MAX_SORTS} fields, `-` before one to sort downwards. What has no value comes last, "
        "or first downwards; ids break ties",
        examples=["name,-created_at"],
    ),
]
Count = Annotated[bool, Query(description="Say in X-Total-Count how many match; takes as long as reading them all")]
Accept = Annotated[
    str | None,
    Header(description=f"{NDJSON} or {CSV} for the whole list as a stream, from one moment", examples=[JSON]),
]

LISTED: Final[dict[str, Any]] = {
    "content": {NDJSON: {"schema": {"type": "string"}}, CSV: {"schema": {"type": "string"}}},
    **documented_headers(
        Link='The next page, with rel="next", while there is more', X_Total_Count="With count: how many match"
    ),
}

PAGING: Final = ("cursor", "limit", "count")
SHOWING: Final = ("fields",)


def narrowed(fields: Fields, expression: str | None, **keys: str | None) -> Filter | None:
    """The filter of an expression and of the shorthand parameters together. Raises `Malformed` with the position."""
    filters = [equal(fields[name], value) for name, value in keys.items() if value is not None]
    return every([*filters, parse_filter(expression, fields) if expression is not None else None])


def sorted_by(fields: Fields, sort: str | None) -> Sort:
    return BY_ID if sort is None else parse_sort(sort, fields)


def position_in(request: Request, cursor: str | None, sort: Sort) -> Position | None:
    return None if cursor is None else read_cursor(cursor, list_of(request), sort)


def listed(request: Request, page: Page[T], show: Callable[[T], Shown], sort: Sort, total: int | None) -> Response:
    headers = {} if total is None else {"X-Total-Count": str(total)}
    if page.more:
        cursor = write_cursor(sort.position(page.items[-1]), list_of(request))
        headers.update(link_to_next(request, cursor=cursor))
    return json_answer([show(item) for item in page.items], headers=headers)


def list_of(request: Request) -> str:
    """Which list a cursor is of: the path, the filter and the sort, not how much of it or what to show."""
    parts = {name: value for name, value in request.query_params.items() if name not in (*PAGING, *SHOWING)}
    return f"{request.scope['path'].rstrip('/')}?{urlencode(sorted(parts.items()))}"


def refuse_paging(request: Request, media_type: str) -> None:
    """A stream is the whole list: whoever asks for a page of it means something else."""
    if asked := [name for name in PAGING if name in request.query_params]:
        detail = f"Not with {media_type}, which streams the whole list."
        raise RequestValidationError(
            [{"type": "literal_error", "loc": ("query", name), "msg": detail} for name in asked]
        )

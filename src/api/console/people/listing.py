"""The list of people, with a search while typing, and the export of the filtered list."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from api.bodies.users import SHOWN as BODY
from api.console.pages import COUNTED, PATIENT, number, quickly, render, route, service
from api.console.people.search import COLUMNS, SORTS, STATUSES, Search, cell_of, label_of, named
from api.web.cursors import read_cursor, write_cursor
from api.web.responses import EVERY_FIELD
from api.web.streams import CSV, NDJSON, stream
from domain.errors import Malformed
from domain.lists.pages import Page, parse_sort
from domain.users import FIELDS, User
from services.users import UserService

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN: Final = 50

DONE: Final = ("suspended", "activated", "deleted", "restored")

FORMATS: Final = {"csv": CSV, "ndjson": NDJSON}


def users_of(request: Request) -> UserService:
    return service(request, lambda container: container.users)


async def list_users(request: Request) -> Response:
    """The list of people. With `rows`, only the found people, which replace those on the page.

    If the search takes too long, only people with exactly this text are shown. If the count takes too long, it is left
    out.
    """
    search, fault, count = Search.of(request.query_params), "", None
    found: Page[User] | None = None
    exact: Sequence[User] = ()
    sort, of = parse_sort(search.sort, FIELDS), str(search)
    cursor = request.query_params.get("cursor")
    users, hidden = users_of(request), search.hidden
    try:
        after = None if cursor is None else read_cursor(cursor, of, sort)
        listed = users.list(filter=search.filter, hidden=hidden, sort=sort, after=after, limit=SHOWN)
        found = await quickly(request, listed)
        if found is not None:
            whole = not (found.more or cursor)
            count = len(found) if whole else await quickly(request, count_of(request, search))
    except Malformed as malformed:
        if cursor is not None:
            raise
        fault = malformed.detail
    unfinished = found is None and not fault
    if unfinished and search.q:
        exact = await named(users, search.q, search.chosen, hidden)
    return render(
        request,
        "users_found.html" if "rows" in request.query_params else "users.html",
        users=found.items if found else exact,
        count=count,
        unfinished=unfinished,
        again=urlencode([(n, v) for n, v in request.query_params.multi_items() if n != "rows"] + [(PATIENT, "1")]),
        fault=fault,
        search=search,
        next=write_cursor(sort.position(found.items[-1]), of) if found and found.more else None,
        sorts=SORTS,
        statuses=STATUSES,
        columns=COLUMNS,
        label_of=label_of,
        cell_of=cell_of,
        done=done_in(request),
    )


def done_in(request: Request) -> str:
    """The message about what was just done to many people."""
    many, what, left = (request.query_params.get(name) for name in ("many", "done", "left"))
    said = f"{number(many, 0):,} {what}." if many and what in DONE else ""
    if said and left and number(left, 0):
        said += (
            f" {number(left, 0):,} stay as they are: they are not deleted any more, or others have their identifiers."
        )
    return said


async def count_of(request: Request, search: Search) -> int:
    """How many people are found. Counting stops at `COUNTED` + 1."""
    return await users_of(request).count(search.filter, hidden=search.hidden, most=COUNTED + 1)


async def export_users(request: Request) -> Response:
    """All people who match, as they are at one moment, as a file."""
    format = request.path_params["format"]
    if format not in FORMATS:
        raise Malformed("There is no such format.")
    search = Search.of(request.query_params)
    sort = parse_sort(search.sort, FIELDS)
    pages = users_of(request).export(BODY.by(EVERY_FIELD), filter=search.filter, hidden=search.hidden, sort=sort)
    answer = await stream(request, FORMATS[format], pages, BODY.names)
    answer.headers["Content-Disposition"] = f'attachment; filename="users.{format}"'
    return answer


ROUTES: Final = (
    route("/users", list_users),
    route("/users/export/{format}", export_users),
)

"""The list of people: searched while one types, and exported as it is filtered."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import COUNTED, number, render, route, service
from api.console.people.search import COLUMNS, SORTS, STATUSES, Search, cell_of, label_of
from api.user_bodies import SHOWN as BODY
from api.web.cursors import read_cursor, write_cursor
from api.web.responses import EVERY_FIELD
from api.web.streams import CSV, NDJSON, stream
from domain.errors import Malformed
from domain.lists.pages import Page, parse_sort
from domain.users import FIELDS, User
from services.users import UserService

SHOWN: Final = 50
DONE: Final = ("suspended", "activated", "deleted")

FORMATS: Final = {"csv": CSV, "ndjson": NDJSON}


def users_of(request: Request) -> UserService:
    return service(request, lambda container: container.users)


async def list_users(request: Request) -> Response:
    """With `rows`, only what was found: it takes the place of what the page shows."""
    search, fault, count = Search.of(request.query_params), "", 0
    found: Page[User] = Page((), more=False)
    sort, of = parse_sort(search.sort, FIELDS), str(search)
    cursor = request.query_params.get("cursor")
    try:
        after = None if cursor is None else read_cursor(cursor, of, sort)
        found = await users_of(request).list(
            filter=search.filter, hidden=search.hidden, sort=sort, after=after, limit=SHOWN
        )
        count = await count_of(request, search) if found.more or cursor else len(found)
    except Malformed as malformed:
        if cursor is not None:
            raise
        fault = malformed.detail
    return render(
        request,
        "users_found.html" if "rows" in request.query_params else "users.html",
        users=found.items,
        count=count,
        fault=fault,
        search=search,
        next=write_cursor(sort.position(found.items[-1]), of) if found.more else None,
        sorts=SORTS,
        statuses=STATUSES,
        columns=COLUMNS,
        label_of=label_of,
        cell_of=cell_of,
        done=done_in(request),
    )


def done_in(request: Request) -> str:
    """What was just done to many, to say so."""
    many, what = request.query_params.get("many"), request.query_params.get("done")
    return f"{number(many, 0):,} {what}" if many and what in DONE else ""


async def count_of(request: Request, search: Search) -> int:
    """How many are found; with `COUNTED` + 1 it stops."""
    return await users_of(request).count(search.filter, hidden=search.hidden, most=COUNTED + 1)


async def export_users(request: Request) -> Response:
    """Everybody who matches, in the state of one moment."""
    format = request.path_params["format"]
    if format not in FORMATS:
        raise Malformed("There is no such format.")
    search = Search.of(request.query_params)
    pages = users_of(request).export(filter=search.filter, hidden=search.hidden, sort=parse_sort(search.sort, FIELDS))
    answer = await stream(request, FORMATS[format], pages, BODY.by(EVERY_FIELD), BODY.names)
    answer.headers["Content-Disposition"] = f'attachment; filename="users.{format}"'
    return answer


ROUTES: Final = (
    route("/users", list_users),
    route("/users/export/{format}", export_users),
)

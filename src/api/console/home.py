"""The first page of the console: how many there are, and what happened last."""

from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import render, route, service
from api.version import VERSION
from domain.lists.terms import parse_filter
from domain.users import FIELDS
from domain.work import utc_now

LAST: Final = 10
NEW_WITHIN: Final = timedelta(days=30)


async def home(request: Request) -> Response:
    session = request.state.session
    figures: dict[str, int] = {}
    recent: Any = ()
    if session.may("users:read"):
        users = service(request, lambda container: container.users)
        since = (utc_now() - NEW_WITHIN).isoformat()
        figures = {
            "Users": await users.count(),
            "Active": await users.count(parse_filter('status eq "active"', FIELDS)),
            f"New in {NEW_WITHIN.days} days": await users.count(parse_filter(f'created_at ge "{since}"', FIELDS)),
        }
    if session.may("groups:read"):
        figures["Groups"] = await service(request, lambda container: container.groups).count()
    if session.may("changes:read"):
        changes = service(request, lambda container: container.changes)
        recent = await changes.latest(limit=LAST)
    database = request.app.state.container.database().name
    return render(
        request,
        "home.html",
        figures=figures,
        changes=recent,
        origin=f"{request.url.scheme}://{request.url.netloc}",
        version=VERSION,
        database=database,
    )


ROUTES: Final = (route("/", home),)

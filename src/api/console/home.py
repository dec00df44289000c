"""The first page of the console: the numbers of people and groups, recent changes, and the state of the server."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.figures import (
    ACTION_FILLS,
    DAYS,
    STATUS_FILLS,
    Figure,
    actions_by_day,
    active,
    bars_of,
    created,
    days_until,
    in_all,
    line_of,
    points,
    statuses_by_minute,
    steps_of,
)
from api.console.names import names_of
from api.console.pages import COUNTED, render, route, service
from domain.changes import Change, Tally
from domain.lists.terms import parse_filter
from domain.users import FIELDS

if TYPE_CHECKING:
    from api.monitoring.metrics import Metrics

LAST: Final = 10
TALLIED: Final = 50_000
"""How many of the newest changes are used for lines and bars, so that the page does not read the whole record."""

HEIGHT: Final = 100
"""The height of the highest bar, in units of the drawing."""


async def home(request: Request) -> Response:
    session, now = request.state.session, request.app.state.container.clock()()
    recent: Sequence[Change] = ()
    tallies: Sequence[Tally] = ()
    if session.may("changes:read"):
        changes = service(request, lambda container: container.changes)
        recent = await changes.latest(limit=LAST)
        tallies = await changes.tally(since=now - timedelta(days=DAYS), most=TALLIED)
    metrics: Metrics = request.app.state.container.metrics()
    return render(
        request,
        "home.html",
        figures=await figures_of(request, tallies, now),
        days=bars_of(actions_by_day(tallies, now), ACTION_FILLS, HEIGHT) if session.may("changes:read") else (),
        tallied=TALLIED if sum(each.changes for each in tallies) == TALLIED else 0,
        action_fills=ACTION_FILLS,
        changes=recent,
        names=await names_of(request, recent),
        minutes=bars_of(statuses_by_minute(metrics.hour.per_minute()), STATUS_FILLS, HEIGHT),
        status_fills=STATUS_FILLS,
        p95_s=metrics.hour.p95_s(),
        warnings=await request.app.state.checks.warnings() if session.may("keys:admin") else (),
        origin=f"{request.url.scheme}://{request.url.netloc}",
    )


async def figures_of(request: Request, tallies: Sequence[Tally], now: datetime) -> Sequence[Figure]:
    figures: list[Figure] = []
    days, most = days_until(now), COUNTED + 1
    if request.state.session.may("users:read"):
        users = service(request, lambda container: container.users)
        are_active = parse_filter('status eq "active"', FIELDS)
        are_new = parse_filter(f'created_at ge "{(now - timedelta(days=DAYS)).isoformat()}"', FIELDS)
        all, some, new = [await users.count(each, most=most) for each in (None, are_active, are_new)]
        arrived = steps_of(tallies, created)
        figures += [
            Figure("Users", all, line_of(all, steps_of(tallies, in_all("user")), days)),
            Figure("Active", some, line_of(some, steps_of(tallies, active), days)),
            Figure(f"New in {DAYS} days", new, points([arrived[day] for day in days])),
        ]
    if request.state.session.may("groups:read"):
        groups = await service(request, lambda container: container.groups).count(most=most)
        figures.append(Figure("Groups", groups, line_of(groups, steps_of(tallies, in_all("group")), days)))
    return figures


ROUTES: Final = (route("/", home),)

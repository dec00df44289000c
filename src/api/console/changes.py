"""The record of changes in the console. New changes appear without a reload."""

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.names import names_of
from api.console.pages import number, render, route, service
from domain.changes import FIELDS, Action
from domain.lists.filters import Filter, equal, every
from domain.lists.terms import parse_filter
from domain.values import MAX_ID

SHOWN: Final = 50
WAIT_S: Final = 25
FILTERED_BY: Final = ("kind", "action", "actor")
BOUNDED_BY: Final = {"since": "ge", "until": "lt"}
MINUTES: Final = len("2026-01-31T12:00")


def asked(request: Request) -> dict[str, str]:
    return {name: request.query_params.get(name, "").strip() for name in (*FILTERED_BY, *BOUNDED_BY)}


def filter_of(wanted: dict[str, str]) -> Filter | None:
    """Raises `Malformed`."""
    named = [equal(FIELDS[name], wanted[name]) for name in FILTERED_BY if wanted[name]]
    times = [during(operator, wanted[name]) for name, operator in BOUNDED_BY.items() if wanted[name]]
    return every([*named, *times])


def during(operator: str, text: str) -> Filter:
    """A comparison with a time from the browser's date and time field, in UTC. Raises `Malformed`."""
    return parse_filter(f"at {operator} {json.dumps(f'{text}:00Z' if len(text) == MINUTES else text)}", FIELDS)


async def list_changes(request: Request) -> Response:
    """The changes, the newest first, with a link to older ones."""
    changes = service(request, lambda container: container.changes)
    wanted = asked(request)
    newest = await changes.latest(limit=1)
    before = number(request.query_params.get("before"), MAX_ID)
    found = await changes.latest(filter=filter_of(wanted), before=before, limit=SHOWN)
    return render(
        request,
        "changes.html",
        changes=found,
        names=await names_of(request, found),
        wanted=wanted,
        head=newest[0].seq if newest else 0,
        actions=list(Action),
        more=len(found) == SHOWN,
    )


async def new_changes(request: Request) -> Response:
    """The rows of new changes. Waits for the first one."""
    changes = service(request, lambda container: container.changes)
    since = number(request.query_params.get("after"), 0)
    page = await changes.wait(filter=filter_of(asked(request)), since=since, limit=SHOWN, within_s=WAIT_S)
    names = await names_of(request, page.changes)
    response = render(request, "change_rows.html", changes=page.changes[::-1], names=names)
    response.headers["Roster-Seq"] = str(page.end)
    return response


ROUTES: Final = (route("/changes", list_changes), route("/changes/new", new_changes))

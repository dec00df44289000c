"""Many people at once: suspend, activate, delete or restore the selected people, or all who match.

Each action has to be confirmed.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import COUNTED, Form, number, render, route, to
from api.console.people.listing import count_of, users_of
from api.console.people.search import Search
from domain.errors import Conflict, Malformed, NotFound
from domain.idempotency import Committed
from domain.lists.pages import BY_ID, MAX_LIMIT
from domain.users import Status
from services.users import UserService

AT_ONCE: Final = 500
"""How many people are written in one unit of work. On SQLite nobody else can write meanwhile."""

CHOSEN: Final = "user "

Act = Callable[[UserService, Collection[int]], Awaitable[Committed[int]]]


@dataclass(frozen=True, slots=True)
class Bulk:
    label: str
    done: str
    act: Act


async def restore(users: UserService, ids: Collection[int]) -> Committed[int]:
    """Restore these people together. If others have identifiers of some of them now, restore all except those."""
    try:
        return await users.restore_many(ids)
    except Conflict:
        done = 0
        for id in ids:
            with suppress(Conflict, NotFound):
                done += (await users.restore(id)).seq is not None
        return Committed(done)


ACTIONS: Final[Mapping[str, Bulk]] = {
    "suspend": Bulk("Suspend", "suspended", lambda users, ids: users.patch_many(ids, {"status": Status.SUSPENDED})),
    "activate": Bulk("Activate", "activated", lambda users, ids: users.patch_many(ids, {"status": Status.ACTIVE})),
    "delete": Bulk("Delete", "deleted", lambda users, ids: users.delete_many(ids)),
    "restore": Bulk("Restore", "restored", restore),
}


async def ask(request: Request) -> Response:
    """Show how many people there are, and ask for a confirmation."""
    form: Form = request.state.form
    action, search = action_in(form), search_in(form)
    if "everyone" in form:
        count = await count_of(request, search)
        first = (await users_of(request).list(filter=search.filter, hidden=search.hidden, limit=5)).items
        ids: Sequence[int] = ()
    else:
        ids = chosen_in(form)
        first = await users_of(request).get_many(ids[:5])
        count = len(ids)
    return render(
        request,
        "users_bulk.html",
        action=form["action"],
        label=action.label,
        count=count,
        too_many=count > COUNTED,
        first=first,
        ids=ids,
        search=search,
        everyone="everyone" in form,
        reason="",
    )


async def do(request: Request) -> Response:
    form: Form = request.state.form
    action, search, users = action_in(form), search_in(form), users_of(request)
    ids = [number(each, 0) for each in form.get("ids", "").split()]
    if "everyone" in form:
        if await count_of(request, search) != number(form.get("count"), 0):
            raise Malformed("Others match now than when you were asked. Go back to the list, and look again.")
        ids = await all_who_match(users, search)
    done = 0
    for some in portions(ids):
        done += (await action.act(users, some)).result
    said = {"many": str(done), "done": action.done, "left": str(len(ids) - done) if action.act is restore else "0"}
    return to(request, f"/users?{urlencode([*search.query, *said.items()])}")


async def all_who_match(users: UserService, search: Search) -> list[int]:
    ids: list[int] = []
    more = True
    while more and len(ids) <= COUNTED:
        after = (ids[-1],) if ids else None
        page = await users.list(filter=search.filter, hidden=search.hidden, after=after, limit=MAX_LIMIT, sort=BY_ID)
        ids += [user.id for user in page.items]
        more = page.more
    return ids


def portions(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def action_in(form: Form) -> Bulk:
    if (name := form.get("action", "")) not in ACTIONS:
        raise Malformed("There is no such action.")
    return ACTIONS[name]


def search_in(form: Form) -> Search:
    return Search.of(QueryParams(form.get("search", "")))


def chosen_in(form: Form) -> list[int]:
    ids = [number(name.removeprefix(CHOSEN), 0) for name in form if name.startswith(CHOSEN)]
    if not ids:
        raise Malformed("Choose somebody first.")
    return ids


ROUTES: Final = (
    route("/users/bulk", ask, methods=("POST",)),
    route("/users/bulk/confirmed", do, methods=("POST",)),
)

"""The history of a person: undoing one change, or going back to a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from api.console.pages import number, service
from domain.changes import Action, Change
from domain.entities import profile_of
from domain.errors import Malformed
from domain.lists.pages import MAX_LIMIT
from domain.users import NewUser, User
from domain.values import MAX_ID, JsonObject, JsonValue, plain
from services.changes import ChangeService
from services.users import UserService

SHOWN: Final = 30
PROFILE: Final = profile_of(NewUser)


@dataclass(frozen=True, slots=True)
class History:
    """Some changes about a person, the newest first, and the number before which older ones continue, if there are
    any."""

    changes: Sequence[Change]
    older: int | None
    is_newest: bool

    def can_undo(self, change: Change) -> bool:
        return change.kind == User.kind and change.action is Action.UPDATED and change.before is not None

    def can_restore(self, number: int) -> bool:
        """Whether a later change altered the profile. Otherwise this is the present version."""
        change = self.changes[number]
        is_latest = self.is_newest and not any(each.kind == User.kind for each in self.changes[:number])
        return change.kind == User.kind and change.after is not None and not is_latest


def changes_of(request: Request) -> ChangeService:
    return service(request, lambda container: container.changes)


async def history(request: Request, id: int) -> History:
    """The history of a person. Empty if the session may not read it."""
    if not request.state.session.may("changes:read"):
        return History((), None, is_newest=True)
    before = number(request.query_params.get("before"), MAX_ID)
    found = await changes_of(request).latest_about(User, id, before=before, limit=SHOWN + 1)
    shown = found[:SHOWN]
    return History(shown, shown[-1].seq if len(found) > SHOWN else None, is_newest=before == MAX_ID)


async def undo(request: Request, users: UserService, id: int) -> None:
    """Undo a change: give the fields that it altered their values from before."""
    change = await change_in(request, id)
    if change.before is None:
        raise Malformed("There is nothing from before this change.")
    await become(users, id, change.before)


async def restore_version(request: Request, users: UserService, id: int) -> None:
    """Go back to a version: give all fields the values that they had after a change."""
    change = await change_in(request, id)
    if change.after is None:
        raise Malformed("The values of this version were erased.")
    values: dict[str, JsonValue] = {}
    before, more = MAX_ID, True
    while more:
        later = await changes_of(request).latest_about(User, id, before=before, limit=MAX_LIMIT)
        for each in later:
            if each.seq > change.seq and each.kind == User.kind:
                values.update(each.before or {})
        more = len(later) == MAX_LIMIT and later[-1].seq > change.seq
        before = later[-1].seq
    await become(users, id, values)


async def change_in(request: Request, id: int) -> Change:
    """The change of this user that a form names. Raises `Malformed` if there is none."""
    seq = number(request.state.form.get("seq"), 0)
    found = await changes_of(request).latest_about(User, id, before=min(seq + 1, MAX_ID), limit=1)
    if not found or found[0].seq != seq or found[0].kind != User.kind:
        raise Malformed("This person has no such change.")
    return found[0]


async def become(users: UserService, id: int, values: JsonObject) -> None:
    user = await users.get(id)
    wanted = {name: value for name, value in values.items() if name in PROFILE}
    await users.patch(id, difference(user, wanted), expected=(user.version,))


def difference(user: User, wanted: Mapping[str, Any]) -> JsonObject:
    """The merge patch (RFC 7396) that gives a user these values. Attributes that are not among them are removed."""
    patch = {name: value for name, value in wanted.items() if plain(getattr(user, name)) != plain(value)}
    if isinstance(patch.get("attributes"), dict):
        patch["attributes"] = merge_patch_to(user.attributes, patch["attributes"])
    return patch


def merge_patch_to(has: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    patch: dict[str, JsonValue] = {name: None for name in has if name not in wanted}
    for name, value in wanted.items():
        before = has.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            patch[name] = merge_patch_to(before, value)
        elif before != value or name not in has:
            patch[name] = value
    return patch

"""Rows of memberships."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from domain.groups import Group
from domain.imports import Row
from domain.memberships import Membership, NewMembership
from domain.users import User
from domain.values import JsonObject
from domain.work import UnitOfWork
from services.imports.batches import Batch, Draft, found, missing, required, texts, values_of


async def store_memberships(batch: Batch, rows: Sequence[Row]) -> None:
    users = await found(batch.work.users, batch.options.match, texts(rows, "user"))
    groups = await batch.groups_named({*texts(rows, "group")})
    drafts = batch.drafts(rows, lambda row: draft_of(batch, row, users, groups))
    kept = await kept_of(batch.work, {draft.after.user_id for draft in drafts})
    once = batch.once(drafts, lambda new: (new.user_id, new.group_id), kept)
    drafts = [with_role(each, kept[pair]) if pair in kept else each for pair, each in once.items()]
    for draft, membership in await batch.store(batch.work.memberships, drafts):
        batch.note(draft, membership)


def draft_of(batch: Batch, row: Row, users: Mapping[str, User], groups: Mapping[str, Group]) -> Draft | None:
    """Raises `Invalid`."""
    match, values = batch.options.match, values_of(row, ("user", "group", "role"))
    user, group = required(values, "user"), required(values, "group")
    is_there = {"user": user in users, "group": group in groups}
    was_met = {
        "user": batch.was_met(User.kind, match, user),
        "group": batch.was_met(Group.kind, "name", group),
    }
    missing((f"/{name}" for name in is_there if not (is_there[name] or was_met[name])), "such user or group")
    if not all(is_there.values()):
        batch.put_off(row)
        return None
    return Draft(row, None, new_membership(groups[group].id, users[user].id, values))


def with_role(draft: Draft, kept: Membership) -> Draft:
    """The existing membership, with the role of the row if it has one."""
    given = {"role": draft.row.values["role"]} if "role" in draft.row.values else {}
    return Draft(draft.row, kept, kept.revised(**given))


async def kept_of(work: UnitOfWork, user_ids: Collection[int]) -> Mapping[tuple[int, int], Membership]:
    """The memberships of these users, by the ids of user and group."""
    found = await work.memberships.of_users(user_ids) if user_ids else ()
    return {(each.user_id, each.group_id): each for each in found}


def new_membership(group_id: int, user_id: int, given: JsonObject) -> NewMembership:
    role: Any = given.get("role")
    return NewMembership(group_id=group_id, user_id=user_id, role=role)

"""Rows of users, with their groups."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from domain.entities import profile_of
from domain.errors import Fault, Invalid
from domain.groups import Group
from domain.imports import Mode, Row
from domain.journal import differ
from domain.memberships import Membership, NewMembership
from domain.users import NewUser, User
from domain.values import JsonObject, fold
from services.imports.batches import Batch, Draft, made, missing, required, values_of
from services.imports.memberships import kept_of, new_membership
from services.operations import contended
from services.users import require_email

ROLE: Final = profile_of(NewMembership)["role"].rule


async def store_users(batch: Batch, rows: Sequence[Row]) -> None:
    found = await batch.matched(batch.work.users, batch.options.match, rows)
    groups = await batch.groups_named({name for row in rows for name in names_in(row.values.get("groups"))})
    drafts = batch.drafts(rows, lambda row: draft_of(batch, row, found, groups))
    await asyncio.sleep(0)  # let requests run in between
    drafts = await batch.without_conflicts(batch.work.users, User.kind, drafts)
    stored = await batch.store(batch.work.users, drafts)
    await asyncio.sleep(0)
    await join(batch, stored, groups)
    for draft, user in stored:
        batch.note(draft, user)


def names_in(listed: object) -> Iterator[str]:
    for each in listed if isinstance(listed, list) else ():
        name = each.get("name") if isinstance(each, dict) else each
        if isinstance(name, str):
            yield name


def draft_of(batch: Batch, row: Row, found: Mapping[str, User], groups: Mapping[str, Group]) -> Draft:
    """Raises `Invalid`."""
    values, before, wanted = values_of(row), None, None
    if "groups" in values:
        wanted = groups_in(values.pop("groups"))
        unknown = [(n, name) for n, name in enumerate(wanted) if name not in groups]
        nowhere = (n for n, name in unknown if not batch.was_met(Group.kind, "name", name))
        missing((f"/groups/{n}" for n in nowhere), "group with this name")
    if batch.options.mode is not Mode.CREATE:
        before = found.get(required(values, batch.options.match))
    after = made(NewUser, before, values, is_patch=row.is_patch)
    require_email(batch.is_email, after, before)
    return Draft(row, before, after, wanted)


def groups_in(listed: object) -> Mapping[str, JsonObject]:
    """The groups in a row: names, or objects with a name and a role. Raises `Invalid`."""
    if listed is None:
        return {}
    if not isinstance(listed, list):
        raise Invalid([Fault("/groups", "wrong_type", "Must be an array.")])
    given: dict[str, JsonObject] = {}
    faults = [fault for number, each in enumerate(listed) for fault in faults_in(f"/groups/{number}", each, given)]
    if faults:
        raise Invalid(faults)
    return given


def faults_in(pointer: str, item: object, given: dict[str, JsonObject]) -> Iterator[Fault]:
    """The faults of an item of the list of groups. If there are none, the item is added to `given`."""
    its: Mapping[str, Any] = item if isinstance(item, dict) else {"name": item}
    name, role = its.get("name"), its.get("role")
    if not isinstance(name, str) or not its.keys() <= {"name", "role"}:
        yield Fault(pointer, "wrong_type", "Must be a name, or an object with a name and a role.")
    elif fold(name) in map(fold, given):
        yield Fault(pointer, "duplicate", "Is named twice.")
    else:
        given[name] = {"role": role}
        if role is not None:
            yield from ROLE.faults(f"{pointer}/role", role)


async def join(batch: Batch, stored: Sequence[tuple[Draft, User]], groups: Mapping[str, Group]) -> None:
    """Change the memberships of these users, so that they are in exactly the groups that their rows name."""
    wanted = [(draft, user) for draft, user in stored if draft.groups is not None]
    if not wanted:
        return
    kept = by_user(await kept_of(batch.work, {user.id for draft, user in wanted if draft.before is not None}))
    names = {group.id: name for name, group in groups.items()}
    add: list[NewMembership] = []
    change: list[Membership] = []
    end: list[tuple[Draft, Membership]] = []
    for draft, user in wanted:
        given = {groups[name].id: each for name, each in (draft.groups or {}).items() if name in groups}
        its = kept.get(user.id, {})
        new = [new_membership(id, user.id, each) for id, each in given.items() if id not in its]
        revised = [its[id].revised(**each) for id, each in given.items() if id in its]
        changed = [each for each in revised if differ(its[each.group_id], each)]
        draft.joined = [names[each.group_id] for each in (*new, *changed)]
        add += new
        change += changed
        end += [(draft, each) for id, each in its.items() if id not in given]
    with contended():
        await batch.work.memberships.add_many(add)
        await batch.work.memberships.save_many(change)
        await batch.work.memberships.end_many([each for _, each in end])
    await name_those_left(batch, end)


def by_user(kept: Mapping[tuple[int, int], Membership]) -> Mapping[int, Mapping[int, Membership]]:
    found: dict[int, dict[int, Membership]] = {}
    for (user_id, group_id), each in kept.items():
        found.setdefault(user_id, {})[group_id] = each
    return found


async def name_those_left(batch: Batch, ended: Sequence[tuple[Draft, Membership]]) -> None:
    if ended:
        groups = await batch.work.groups.get_many({each.group_id for _, each in ended})
        names = {each.id: each.name for each in groups}
        for draft, each in ended:
            draft.left = [*draft.left, names[each.group_id]]

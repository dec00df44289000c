"""Rows of groups and of nestings."""

from collections.abc import Mapping, Sequence

from domain.groups import Group, NewGroup
from domain.imports import Mode, Row
from domain.nestings import NewNesting
from services.imports.batches import Batch, Draft, made, missing, required, texts, values_of


async def store_groups(batch: Batch, rows: Sequence[Row]) -> None:
    """A group is matched by its external id if the row has one, and otherwise by its name."""
    by_id = await batch.matched(batch.work.groups, "external_id", rows)
    by_name = await batch.matched(batch.work.groups, "name", rows)
    drafts = batch.drafts(rows, lambda row: draft_of(batch, row, by_id, by_name))
    drafts = await batch.without_conflicts(batch.work.groups, Group.kind, drafts)
    for draft, group in await batch.store(batch.work.groups, drafts):
        batch.note(draft, group)


def draft_of(batch: Batch, row: Row, by_id: Mapping[str, Group], by_name: Mapping[str, Group]) -> Draft:
    """Raises `Invalid`."""
    values, before = values_of(row), None
    if batch.options.mode is not Mode.CREATE:
        id = values.get("external_id")
        before = by_id.get(id) if isinstance(id, str) else by_name.get(required(values, "name"))
    return Draft(row, before, made(NewGroup, before, values, is_patch=row.is_patch))


async def store_nestings(batch: Batch, rows: Sequence[Row]) -> None:
    """Raises `Cycle` for the whole unit if a nesting closes a circle."""
    groups = await batch.groups_named({*texts(rows, "group"), *texts(rows, "child")})
    kept = {
        (each.group_id, each.child_id): each
        for each in await batch.work.nestings.of_groups({each.id for each in groups.values()})
    }
    drafts = batch.drafts(rows, lambda row: nesting_of(batch, row, groups))
    once = batch.once(drafts, lambda new: (new.group_id, new.child_id), kept)
    drafts = [Draft(each.row, kept.get(pair), kept.get(pair, each.after)) for pair, each in once.items()]
    for draft, nesting in await batch.store(batch.work.nestings, drafts):
        batch.note(draft, nesting)


def nesting_of(batch: Batch, row: Row, groups: Mapping[str, Group]) -> Draft | None:
    """Raises `Invalid`."""
    values = values_of(row, ("group", "child"))
    names = {field: required(values, field) for field in ("group", "child")}
    unknown = [field for field, name in names.items() if name not in groups]
    nowhere = (field for field in unknown if not batch.was_met(Group.kind, "name", names[field]))
    missing((f"/{field}" for field in nowhere), "group with this name")
    if unknown:
        batch.put_off(row)
        return None
    group, child = (groups[names[field]].id for field in ("group", "child"))
    return Draft(row, None, NewNesting(group_id=group, child_id=child))

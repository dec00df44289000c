"""Memberships in memory, and the related entities for filters of users and groups."""

from collections.abc import Collection, Iterator, Sequence

from domain.entities import Entity
from domain.memberships import Membership, NewMembership
from repositories.memory.table import MemoryReadStore, MemoryStore
from repositories.memory.units import MemoryReading, MemoryWriting, Tables


def groups_of(tables: Tables, user_id: int) -> Sequence[Entity]:
    """The groups of a user that are not deleted."""
    groups = tables.rows["group"].by_id
    found = (groups[each.group_id] for each in shown(tables) if each.user_id == user_id)
    return [each for each in found if not each.is_hidden]


def members_of(tables: Tables, group_id: int) -> Sequence[Entity]:
    """The members of a group who are not deleted."""
    users = tables.rows["user"].by_id
    return [users[each.user_id] for each in shown(tables) if each.group_id == group_id]


def shown(tables: Tables) -> Iterator[Membership]:
    return (each for each in tables.rows[Membership.kind].by_id.values() if not each.is_hidden)


class ReadsByEither:
    """The reads that both stores have in common."""

    _unit: MemoryReading | MemoryWriting

    async def of_groups(self, ids: Collection[int]) -> Sequence[Membership]:
        found = (each for each in shown(self._unit.tables) if each.group_id in ids)
        return sorted(found, key=lambda each: (each.group_id, each.user_id))

    async def of_users(self, ids: Collection[int]) -> Sequence[Membership]:
        tables = self._unit.tables
        groups = tables.rows["group"].by_id
        found = (each for each in shown(tables) if each.user_id in ids and not groups[each.group_id].is_hidden)
        return sorted(found, key=lambda each: (each.user_id, each.group_id))


class MemoryReadMemberships(ReadsByEither, MemoryReadStore[NewMembership, Membership]):
    def __init__(self, unit: MemoryReading) -> None:
        super().__init__(Membership, unit)

    async def among(self, group_id: int, user_ids: Collection[int], *, hidden: bool = False) -> Sequence[Membership]:
        return among(self._unit.tables, group_id, user_ids, hidden=hidden)


class MemoryMemberships(ReadsByEither, MemoryStore[NewMembership, Membership]):
    def __init__(self, unit: MemoryWriting) -> None:
        super().__init__(Membership, unit)

    async def among(self, group_id: int, user_ids: Collection[int], *, hidden: bool = False) -> Sequence[Membership]:
        return among(self.unit.tables, group_id, user_ids, hidden=hidden)


def among(tables: Tables, group_id: int, user_ids: Collection[int], *, hidden: bool) -> Sequence[Membership]:
    rows = tables.rows[Membership.kind].by_id.values()
    found = [each for each in rows if each.group_id == group_id and each.user_id in user_ids]
    return sorted((each for each in found if hidden or not each.is_hidden), key=lambda each: each.id)

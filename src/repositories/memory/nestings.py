"""Nestings in memory, and everything that follows them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from domain.groups import Group
from domain.memberships import Membership
from domain.nestings import Cycle, Member, Nesting, NewNesting, Reached
from repositories.memory.table import MemoryReadStore, MemoryStore, own
from repositories.memory.units import MemoryReading, MemoryWriting, Tables
from repositories.tables.writes import write


def parts_of(tables: Tables, group_id: int) -> Sequence[Group]:
    """The direct parts of a group that are not deleted."""
    return children(tables, group_id, 0)


class ReadsByGroup:
    """The reads that both stores have in common."""

    _unit: MemoryReading | MemoryWriting

    async def of_groups(self, ids: Collection[int]) -> Sequence[Nesting]:
        groups = self._unit.tables.rows[Group.kind].by_id
        nestings = self._unit.tables.rows[Nesting.kind].by_id.values()
        found = (each for each in nestings if each.group_id in ids and not groups[each.child_id].is_hidden)
        return sorted(found, key=lambda each: (each.group_id, each.child_id))


class MemoryReadNestings(ReadsByGroup, MemoryReadStore[NewNesting, Nesting]):
    def __init__(self, unit: MemoryReading) -> None:
        super().__init__(Nesting, unit)

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        return between(self._unit.tables, group_id, child_id)

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        return children(self._unit.tables, group_id, after)[: max(0, limit)]

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        return members(self._unit.tables, group_id, after)[: max(0, limit)]

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        return groups_of(self._unit.tables, user_id, after)[: max(0, limit)]


class MemoryNestings(ReadsByGroup, MemoryStore[NewNesting, Nesting]):
    def __init__(self, unit: MemoryWriting) -> None:
        super().__init__(Nesting, unit)

    @write
    async def add(self, new: NewNesting) -> Nesting:
        if new.group_id in reached(new.child_id, children_in(self.unit.tables)):
            raise Cycle
        return await super().add(new)

    @write
    async def add_many(self, new: Sequence[NewNesting]) -> Sequence[Nesting]:
        return [await self.add(each) for each in new]

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        return between(self.unit.tables, group_id, child_id)

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        return children(self.unit.tables, group_id, after)[: max(0, limit)]

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        return members(self.unit.tables, group_id, after)[: max(0, limit)]

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        return groups_of(self.unit.tables, user_id, after)[: max(0, limit)]


Neighbours = Callable[[int], Iterable[int]]


def nestings_in(tables: Tables) -> Iterable[Nesting]:
    return tables.rows[Nesting.kind].by_id.values()


def memberships_in(tables: Tables) -> Iterable[Membership]:
    return (each for each in tables.rows[Membership.kind].by_id.values() if not each.is_hidden)


def is_living(tables: Tables, group_id: int) -> bool:
    return not tables.rows[Group.kind].by_id[group_id].is_hidden


def children_in(tables: Tables) -> Neighbours:
    """For each group its direct parts, including deleted ones."""
    return lambda group_id: [each.child_id for each in nestings_in(tables) if each.group_id == group_id]


def parents_in(tables: Tables) -> Neighbours:
    return lambda group_id: [each.group_id for each in nestings_in(tables) if each.child_id == group_id]


def living(tables: Tables, neighbours: Neighbours) -> Neighbours:
    return lambda group_id: [each for each in neighbours(group_id) if is_living(tables, each)]


def reached(start: int, neighbours: Neighbours) -> set[int]:
    """All groups that can be reached from the start, including the start."""
    seen, ahead = {start}, [start]
    while ahead:
        new = set(neighbours(ahead.pop())) - seen
        seen |= new
        ahead += new
    return seen


def between(tables: Tables, group_id: int, child_id: int) -> Nesting | None:
    found = (each for each in nestings_in(tables) if (each.group_id, each.child_id) == (group_id, child_id))
    return next(found, None)


def children(tables: Tables, group_id: int, after: int) -> Sequence[Group]:
    groups = tables.rows[Group.kind].by_id
    return [own(groups[id]) for id in sorted(living(tables, children_in(tables))(group_id)) if id > after]


def members(tables: Tables, group_id: int, after: int) -> Sequence[Member]:
    parts = reached(group_id, living(tables, children_in(tables)))
    found: defaultdict[int, dict[int, Membership]] = defaultdict(dict)
    for each in memberships_in(tables):
        if each.group_id in parts and each.user_id > after:
            found[each.user_id][each.group_id] = each
    return [
        Member(group_id, user_id, via[group_id].role if group_id in via else None, tuple(sorted(via)))
        for user_id, via in sorted(found.items())
    ]


def groups_of(tables: Tables, user_id: int, after: int) -> Sequence[Reached]:
    found: defaultdict[int, set[int]] = defaultdict(set)
    for each in memberships_in(tables):
        if each.user_id == user_id and is_living(tables, each.group_id):
            for id in reached(each.group_id, living(tables, parents_in(tables))):
                found[id].add(each.group_id)
    groups = tables.rows[Group.kind].by_id
    return [Reached(own(groups[id]), tuple(sorted(via))) for id, via in sorted(found.items()) if id > after]

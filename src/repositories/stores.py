"""The one place where a store is registered, in SQL and in memory.

Each kind of entity has a line in each class. `domain.work` declares the same stores for services, and mypy compares the
two.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from domain.groups import Group, NewGroup
from domain.users import NewUser, User
from repositories.changes import SqlChanges, SqlReadChanges
from repositories.delivery.deliveries import SqlDeliveries, SqlReadDeliveries
from repositories.delivery.leases import SqlLeases, SqlReadLeases
from repositories.delivery.webhooks import WEBHOOKS, SqlReadWebhooks, SqlWebhooks
from repositories.groups import GROUPS
from repositories.keys import KEYS, SqlKeys, SqlReadKeys
from repositories.links import SqlLinks, SqlReadLinks
from repositories.memberships import MEMBERSHIPS, SqlMemberships, SqlReadMemberships
from repositories.memory.changes import MemoryChanges
from repositories.memory.deliveries import MemoryDeliveries
from repositories.memory.keys import MemoryKeys, MemoryReadKeys
from repositories.memory.leases import MemoryLeases
from repositories.memory.links import MemoryLinks, MemoryReadLinks
from repositories.memory.memberships import MemoryMemberships, MemoryReadMemberships, groups_of, members_of
from repositories.memory.nestings import MemoryNestings, MemoryReadNestings, parts_of
from repositories.memory.table import reading, writing
from repositories.memory.units import MemoryReading, MemoryWriting
from repositories.memory.webhooks import MemoryReadWebhooks, MemoryWebhooks
from repositories.nestings import NESTINGS, SqlNestings, SqlReadNestings
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.units import Reading, Writing
from repositories.users import USERS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

S = TypeVar("S")


class store(Generic[S]):  # noqa: N801  # used like a keyword in declarations
    """A store of a unit of work, which is created at its first use."""

    def __init__(self, make: Callable[[Any], S]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, stores: Any, owner: type) -> S:
        made = self._make(stores.unit)
        setattr(stores, self._name, made)
        return made


def session_of(unit: Reading | Writing) -> "AsyncSession":
    return unit.session


class SqlReadStores:
    """The stores of a reading unit. Its session ends with the block."""

    def __init__(self, unit: Reading) -> None:
        self.unit = unit

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.unit.end()

    session = store(session_of)
    users = store(partial(SqlReadStore, USERS))
    groups = store(partial(SqlReadStore, GROUPS))
    memberships = store(SqlReadMemberships)
    nestings = store(SqlReadNestings)
    keys = store(SqlReadKeys)
    links = store(SqlReadLinks)
    webhooks = store(SqlReadWebhooks)
    deliveries = store(SqlReadDeliveries)
    leases = store(SqlReadLeases)
    changes = store(SqlReadChanges)


class SqlStores:
    def __init__(self, unit: Writing) -> None:
        self.unit = unit

    session = store(session_of)
    users = store(partial(SqlStore, USERS))
    groups = store(partial(SqlStore, GROUPS))
    memberships = store(SqlMemberships)
    nestings = store(SqlNestings)
    keys = store(SqlKeys)
    links = store(SqlLinks)
    webhooks = store(SqlWebhooks)
    deliveries = store(SqlDeliveries)
    leases = store(SqlLeases)
    changes = store(SqlChanges)


class MemoryReadStores:
    def __init__(self, unit: MemoryReading) -> None:
        self.unit = unit

    users = store(reading(NewUser, User, {"groups": groups_of}))
    groups = store(reading(NewGroup, Group, {"members": members_of, "parts": parts_of}))
    memberships = store(MemoryReadMemberships)
    nestings = store(MemoryReadNestings)
    keys = store(MemoryReadKeys)
    links = store(MemoryReadLinks)
    webhooks = store(MemoryReadWebhooks)
    deliveries = store(MemoryDeliveries)
    leases = store(MemoryLeases)
    changes = store(MemoryChanges)


class MemoryStores:
    def __init__(self, unit: MemoryWriting) -> None:
        self.unit = unit

    users = store(writing(NewUser, User, {"groups": groups_of}))
    groups = store(writing(NewGroup, Group, {"members": members_of, "parts": parts_of}))
    memberships = store(MemoryMemberships)
    nestings = store(MemoryNestings)
    keys = store(MemoryKeys)
    links = store(MemoryLinks)
    webhooks = store(MemoryWebhooks)
    deliveries = store(MemoryDeliveries)
    leases = store(MemoryLeases)
    changes = store(MemoryChanges)


TABLES: Final = (
    USERS,
    GROUPS,
    MEMBERSHIPS,
    NESTINGS,
    KEYS,
    WEBHOOKS,
)
"""The tables of all entities. Their declared references apply in SQL and in memory."""

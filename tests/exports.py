"""Lists as JSON, as tests read them."""

import json
from collections.abc import AsyncIterable, Iterable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, Final

from domain.groups import Group
from domain.lists.projections import Projection
from domain.memberships import Membership
from domain.nestings import Member
from domain.users import User


def every_field(entity: Any) -> Projection[Any]:
    return Projection(entity, tuple(each.name for each in fields(entity)))


USERS: Final = every_field(User)
GROUPS: Final = every_field(Group)
MEMBERSHIPS: Final = every_field(Membership)
MEMBERS: Final = every_field(Member)


def read(items: Iterable[str]) -> list[Any]:
    """Items of a page as objects, whose values are JSON."""
    return [SimpleNamespace(**json.loads(item)) for item in items]


async def batches(export: AsyncIterable[Any]) -> list[list[Any]]:
    return [read(page.items) async for page in export]


async def everything(export: AsyncIterable[Any]) -> list[Any]:
    return [item for batch in await batches(export) for item in batch]

"""The data with which a simulation begins. It is made once, and every run gets a copy."""

from functools import cache
from itertools import pairwise
from random import Random
from typing import Final

from tests.simulation.loop import simulated_loop
from tests.simulation.world import EPOCH

from domain.delivery.webhooks import NewWebhook
from domain.groups import NewGroup
from domain.users import NewUser
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from repositories.memory.units import Tables
from services.delivery.webhooks import WebhookService
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService

NAMES: Final = ("a", "b", "c")
GROUPS: Final = (1, 2, 3)
"""The groups of these names, which all clients know."""

PEOPLE: Final = (1, 2, 3)
WEBHOOK: Final = 1
"""The id of the webhook."""


@cache
def tables_at_first(*, groups: bool, webhook: bool) -> Tables:
    units = MemoryUnitsOfWork(lambda: EPOCH)
    loop = simulated_loop(Random(0))
    if groups:
        loop.run(add_groups(units))
    if webhook:
        loop.run(add_webhook(units))
    return units._tables


async def add_groups(units: MemoryUnitsOfWork) -> None:
    """Three groups, each a part of the one before, and three people, two of them members."""
    for name in NAMES:
        await GroupService(units, context(f"group {name}")).create(NewGroup(name=name))
    for group, part in pairwise(GROUPS):
        await GroupService(units, context(f"part {part}")).nest(group, part)
    for number in PEOPLE:
        await UserService(units, context(f"user {number}")).create(NewUser(name=f"first {number}"))
    await MembershipService(units, context("members")).change(1, add={1: {}, 2: {}})


async def add_webhook(units: MemoryUnitsOfWork) -> None:
    """A webhook for all changes of users, from the first one on."""
    new = NewWebhook(url="https://example.org/", filter='kind eq "user"')
    await WebhookService(units, bytes, False, context("webhook")).create(new, since=0)


def context(request_id: str) -> RequestContext:
    return RequestContext(actor="first", request_id=request_id)

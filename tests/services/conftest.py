"""Services on the shipped fake: no database, no files, no threads."""

import pytest

from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.changes import ChangeService
from services.groups import GroupService
from services.memberships import MembershipService
from services.users import UserService


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def units() -> MemoryUnitsOfWork:
    return MemoryUnitsOfWork()


@pytest.fixture
def users(units: MemoryUnitsOfWork, context: RequestContext) -> UserService:
    return UserService(units, context)


@pytest.fixture
def changes(units: MemoryUnitsOfWork, context: RequestContext) -> ChangeService:
    return ChangeService(units, context)


@pytest.fixture
def groups(units: MemoryUnitsOfWork, context: RequestContext) -> GroupService:
    return GroupService(units, context)


@pytest.fixture
def memberships(units: MemoryUnitsOfWork, context: RequestContext) -> MembershipService:
    return MembershipService(units, context)

"""One directory for each store: every test here runs on all three."""

import pytest

from domain.work import RequestContext, UnitsOfWork
from repositories.fake import MemoryUnitsOfWork
from repositories.work import SqlUnitsOfWork
from services.users import UserService


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> UnitsOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork()
    return SqlUnitsOfWork(request.getfixturevalue(request.param))


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def users(units: UnitsOfWork, context: RequestContext) -> UserService:
    """The short way to a unit of work of its own, for what a test needs around its point."""
    return UserService(units, context)

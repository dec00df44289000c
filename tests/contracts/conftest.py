"""One directory for each store: every test here runs on all three."""

import pytest

from domain.work import UnitsOfWork
from repositories.memory import MemoryUnitsOfWork
from repositories.work import SqlUnitsOfWork


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> UnitsOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork()
    return SqlUnitsOfWork(request.getfixturevalue(request.param))

"""Services on the shipped fake: no database, no files, no threads."""

import pytest

from domain.work import Occasion
from repositories.memory import MemoryUnitsOfWork
from services.changes import ChangeService
from services.users import UserService


@pytest.fixture
def occasion() -> Occasion:
    return Occasion(actor="tester", request_id="r1")


@pytest.fixture
def units() -> MemoryUnitsOfWork:
    return MemoryUnitsOfWork()


@pytest.fixture
def users(units: MemoryUnitsOfWork, occasion: Occasion) -> UserService:
    return UserService(units, occasion)


@pytest.fixture
def changes(units: MemoryUnitsOfWork, occasion: Occasion) -> ChangeService:
    return ChangeService(units, occasion)

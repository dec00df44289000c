"""What every store of users promises."""

from domain.users import NewUser
from domain.work import Occasion, UnitsOfWork

OCCASION = Occasion(actor="tester", request_id="r1")


async def test_gives_back_what_was_added(units: UnitsOfWork) -> None:
    async with units.writing(OCCASION) as work:
        added = await work.users.add(NewUser(name="Alice", email="Alice@Example.org", attributes={"a": [1, None]}))
        await work.commit()
    async with units.reading() as work:
        assert await work.users.get(added.id) == added


async def test_forgets_what_is_not_committed(units: UnitsOfWork) -> None:
    async with units.writing(OCCASION) as work:
        await work.users.add(NewUser(name="Alice"))
    async with units.reading() as work:
        assert await work.users.list(limit=10) == []

"""What every unit of work promises."""

from dataclasses import replace
from datetime import UTC

import pytest

from domain.changes import Change
from domain.errors import Conflict, Gone, NotFound, Stale, UnitEnded
from domain.users import NewUser, User
from domain.work import RequestContext, UnitsOfWork
from services.users import UserService


@pytest.fixture
def dry(context: RequestContext) -> RequestContext:
    return replace(context, dry_run=True)


async def everything(units: UnitsOfWork) -> tuple[list[User], list[Change]]:
    async with units.reading() as work:
        return list(await work.users.list(limit=1000)), list(await work.changes.list(limit=1000))


async def test_a_unit_without_a_commit_stores_nothing(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    before = await everything(units)
    async with units.writing(context) as work:
        bob = await work.users.add(NewUser(name="Bob"))
        await work.users.save(alice.revised(name="Alicia"))
    assert await everything(units) == before
    with pytest.raises(NotFound):
        await users.get(bob.id)


async def test_an_exception_rolls_back_the_unit(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    before = await everything(units)

    async def fail() -> None:
        async with units.writing(context) as work:
            await work.users.add(NewUser(name="Bob"))
            await work.users.save(alice.revised(name="Alicia"))
            raise KeyError("a defect")

    with pytest.raises(KeyError):
        await fail()
    assert await everything(units) == before


async def test_a_failed_unit_does_not_block_the_next_one(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice", email="key"))
    assert ((await users.create(NewUser(name="Bob", email="key"))).result).version == 1


async def test_a_unit_takes_no_write_after_its_commit(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        await work.commit(None)
        with pytest.raises(UnitEnded):
            await work.users.add(NewUser(name="Bob"))
    assert (await users.list(limit=10)).items == [alice]


async def test_a_commit_stores_all_writes_of_a_unit_at_once(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        added = [await work.users.add(NewUser(name=f"User {number}")) for number in range(3)]
        await work.commit(None)
    kept, recorded = await everything(units)
    assert kept == added
    assert [change.entity_id for change in recorded] == [user.id for user in added]


async def test_the_time_of_a_unit_does_not_change_and_is_in_utc(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        now = work.now
        alice = await work.users.add(NewUser(name="Alice"))
        bob = await work.users.add(NewUser(name="Bob"))
        await work.commit(None)
        assert work.now == now == alice.created_at == bob.created_at
        assert now.tzinfo is UTC
    _, recorded = await everything(units)
    assert [change.at for change in recorded] == [now, now]


async def test_a_dry_run_sees_its_own_writes_and_stores_nothing(
    units: UnitsOfWork, users: UserService, dry: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    before = await everything(units)
    async with units.writing(dry) as work:
        saved = await work.users.save(alice.revised(name="Alicia"))
        added = await work.users.add(NewUser(name="Bob"))
        assert (saved.version, added.version) == (2, 1)
        assert await work.users.list(limit=10) == [saved, added]
        await work.commit(None)
    assert await everything(units) == before


async def test_a_dry_run_is_refused_like_a_real_run(
    units: UnitsOfWork, users: UserService, dry: RequestContext
) -> None:
    alice = (await users.create(NewUser(name="Alice", email="key"))).result
    bob = (await users.patch((await users.create(NewUser(name="Bob"))).result.id, {"name": "Robert"})).result
    carol = (await users.create(NewUser(name="Carol"))).result
    await users.delete(carol.id)
    async with units.writing(dry) as work:
        with pytest.raises(Conflict):
            await work.users.add(NewUser(name="Dora", email="KEY"))
    async with units.writing(dry) as work:
        with pytest.raises(Conflict):
            await work.users.save(bob.revised(email="KEY"))
    async with units.writing(dry) as work:
        with pytest.raises(NotFound):
            await work.users.get(alice.id + 100)
        with pytest.raises(Gone):
            await work.users.get(carol.id)
        with pytest.raises(Stale):
            await work.users.save(replace(bob, version=1))
        with pytest.raises(UnitEnded):
            await work.users.get(alice.id)


async def test_a_dry_run_takes_no_unique_value_and_blocks_nobody(
    units: UnitsOfWork, users: UserService, dry: RequestContext
) -> None:
    async with units.writing(dry) as work:
        await work.users.add(NewUser(name="Alice", email="key"))
        await work.commit(None)
    assert ((await users.create(NewUser(name="Bob", email="key"))).result).email == "key"


async def test_a_reading_unit_sees_each_commit_at_once(units: UnitsOfWork, users: UserService) -> None:
    async with units.reading() as work:
        assert await work.users.list(limit=10) == []
        alice = (await users.create(NewUser(name="Alice"))).result
        assert await work.users.list(limit=10) == [alice]
        await users.delete(alice.id)
        with pytest.raises(Gone):
            await work.users.get(alice.id)


async def test_a_reading_unit_cannot_write(units: UnitsOfWork) -> None:
    async with units.reading() as work:
        assert not {"add", "save"} & set(dir(work.users))
        assert not hasattr(work, "commit")


async def test_a_snapshot_shows_the_state_at_its_first_read(
    units: UnitsOfWork, users: UserService, context: RequestContext
) -> None:
    alice, bob = [(await users.create(NewUser(name=name))).result for name in ("Alice", "Bob")]
    before = await everything(units)
    async with units.snapshot(context) as work:
        assert await work.users.count() == 2
        await users.patch(alice.id, {"name": "Alicia"})
        await users.delete(bob.id)
        await users.create(NewUser(name="Carol"))
        assert await work.users.list(limit=10) == before[0]
        assert await work.users.get(bob.id) == bob
        assert await work.changes.list(limit=10) == before[1]
        assert await work.users.count() == 2
        assert [user.name for user in (await users.list(limit=10)).items] == ["Alicia", "Carol"]
    async with units.snapshot(context) as work:
        assert await work.users.count() == 2
        assert [user.name for user in await work.users.list(limit=10)] == ["Alicia", "Carol"]
